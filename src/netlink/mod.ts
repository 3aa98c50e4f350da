/**
 * rtnetlink: codecs (pure) for links, addresses, routes, neighbours and rules; a synchronous socket for requests and dumps;
 * a monitor for the kernel's own changes.
 */
export * from './address.ts';
export * from './codes.ts';
export * from './filter.ts';
export * from './iproute.ts';
export * from './link.ts';
export * from './message.ts';
export * from './monitor.ts';
export * from './neighbour.ts';
export * from './route.ts';
export * from './rtnetlink.ts';
export * from './rule.ts';
export * from './socket.ts';
