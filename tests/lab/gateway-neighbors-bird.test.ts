// Way one with BIRD on the gateways.
import { neighborSuite } from '../support/gateways.ts';

neighborSuite('gateway-dynamic-neighbors-bird');
