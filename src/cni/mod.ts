/**
 * The CNI plugin. The executable's half (`client.ts`, loaded by `main.ts` alone) forwards a runtime's request to the
 * node's agent; the agent's half, exported here, answers it.
 */
export { BlockAddresses } from './addresses.ts';
export type { AddressRequest, AddressSource } from './addresses.ts';
export { installExecutable } from './install.ts';
export { DEFAULT_SOCKET } from './protocol.ts';
export { createCniServer } from './server.ts';
export type { CniServer, CniServerOptions } from './server.ts';
export { ENDPOINT_ROUTES, openBlockAccess } from './routed.ts';
export type { BlockAccess, EndpointRoutes, RoutedOptions } from './routed.ts';
export { routedInterfaceName } from './shape.ts';
export { WorkloadEndpoints } from './workload-endpoints.ts';
export type { EndpointRegistry } from './workload-endpoints.ts';
