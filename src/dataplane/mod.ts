/** The writers of kernel state, one for each kind: routes, bridges, endpoints, masquerading. */
export * from './bridge.ts';
export * from './endpoints.ts';
export { ROUTED_GATEWAY, ROUTED_HOST_MAC, ROUTED_PREFIX } from './endpoints-routed.ts';
export * from './masquerade.ts';
export * from './part.ts';
export * from './source-check.ts';
export * from './sysctl.ts';
export * from './routes/kernel.ts';
export * from './routes/fake.ts';
export * from './routes/main-table.ts';
export * from './routes/reconciler.ts';
export type { TunnelKernel, TunnelOptions, TunnelState } from './tunnels/device.ts';
export * from './tunnels/ipip.ts';
export { NeighbourWatch } from './tunnels/neighbour-watch.ts';
export * from './tunnels/path-mtu.ts';
export { ReversePaths } from './tunnels/reverse-paths.ts';
export * from './tunnels/vxlan.ts';
