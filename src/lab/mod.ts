/**
 * Whole clusters in network namespaces of this machine: scenarios, bringing up, checking, taking down. The programs in
 * them are the real ones, each its own process; only the wires are made here.
 */
export { bundledScenarios, loadScenario } from './bundled.ts';
export type { LoadedScenario } from './bundled.ts';
export { checkWithin } from './check.ts';
export type { CheckReport, NodeReport, PairReport, PodReport } from './check.ts';
export { endsOf, runDrill } from './drill.ts';
export type { DrillReport } from './drill.ts';
export { takeDown } from './down.ts';
export { graphFormats, graphOf } from './graph.ts';
export type { GraphFormat } from './graph.ts';
export { environmentIn, followLog, logOf, runIn } from './inside.ts';
export { findLab, namespaceIn, summarizeLabs } from './lab.ts';
export type { Lab, LabSummary } from './lab.ts';
export { LabLayout } from './layout.ts';
export { addHost, killProgram, removeHost, restartProgram, startAgain } from './live.ts';
export type { LiveOptions } from './live.ts';
export { listLabs } from './manifest.ts';
export { makeRoom, neighborsOf, putBack } from './neighbors.ts';
export { observe } from './observe.ts';
export { readScenario } from './read.ts';
export { Traffic } from './traffic.ts';
export type { TrafficCount } from './traffic.ts';
export { bringUp } from './up.ts';
export { statusOf } from './status.ts';
export type { LabStatus } from './status.ts';
export { HOLD_COMMAND, holdSandbox, isRealRoot, needsSandbox, runInSandbox } from './sandbox.ts';
