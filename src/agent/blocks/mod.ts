/**
 * Calico's network on a node: pools and blocks, routes by BGP. Read `network.ts` first (what belongs together), then
 * `bgp-config.ts` (resources become a speaker's configuration) and `fib.ts` (best paths become routes).
 */
export { BlockNetwork } from './network.ts';
