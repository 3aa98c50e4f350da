// Way one with `godwit bgp` on the gateways.
import { neighborSuite } from '../support/gateways.ts';

neighborSuite('gateway-dynamic-neighbors-godwit');
