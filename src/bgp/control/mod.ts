/** A speaker as a daemon: control socket, its client, status as JSON, metrics, reload. */
export { ControlClient } from './client.ts';
export { reportOf, runDaemon } from './daemon.ts';
export type { DaemonOptions, KernelFib } from './daemon.ts';
export { metricsText, serveMetrics } from './metrics.ts';
export { serveControl } from './server.ts';
export type { ControlActions, ReloadReport } from './server.ts';
export * from './views.ts';
