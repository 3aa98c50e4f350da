// Way two with BIRD on the gateways.
import { announcerSuite } from '../support/gateways.ts';

announcerSuite('gateway-announcer-bird');
