// Way one with FRR on the gateways.
import { neighborSuite } from '../support/gateways.ts';

neighborSuite('gateway-dynamic-neighbors');
