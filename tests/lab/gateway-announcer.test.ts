// Way two with FRR on the gateways.
import { announcerSuite } from '../support/gateways.ts';

announcerSuite('gateway-announcer');
