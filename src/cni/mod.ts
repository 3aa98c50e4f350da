/**
 * The CNI plugin. The executable's half (`client.ts`, loaded by `main.ts` alone) forwards a runtime's request to the
 * node's agent; the agent's half, exported here, answers it.
 */
export { installExecutable } from './install.ts';
export { DEFAULT_SOCKET } from './protocol.ts';
export { createCniServer } from './server.ts';
export type { CniServer, CniServerOptions } from './server.ts';
