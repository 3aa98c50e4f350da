// Way two with `godwit bgp` on the gateways.
import { announcerSuite } from '../support/gateways.ts';

announcerSuite('gateway-announcer-godwit');
