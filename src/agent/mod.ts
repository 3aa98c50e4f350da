/** The node agent: its configuration, address detection, and the agent itself. */
export * from './address.ts';
export * from './agent.ts';
export * from './config.ts';
export * from './detect.ts';
export * from './kernel.ts';
export * from './method.ts';
