/**
 * `godwit bgp`: a speaker with its configuration file, control socket and metrics. A socket file that nobody answers on
 * is left by a life that ended without goodbye: then this one starts as a graceful restart (RFC 4724 §4.1).
 */
import { existsSync, rmSync } from 'node:fs';
import { GodwitError, messageOf, sleep, systemClock } from '../../base/mod.ts';
import type { Logger } from '../../base/mod.ts';
import { diffConfig } from '../config/mod.ts';
import { loadConfig } from '../config/yaml/mod.ts';
import type { BgpConfig } from '../config/mod.ts';
import type { NextHopResolver } from '../rib/mod.ts';
import { createSpeaker, SweepGate } from '../speaker/mod.ts';
import type { FibSink } from '../speaker/mod.ts';
import { ControlClient } from './client.ts';
import { serveMetrics } from './metrics.ts';
import { planRoutes } from './plan.ts';
import { serveControl } from './server.ts';
import type { ReloadReport } from './server.ts';
import type { ConfigDiff } from '../config/mod.ts';

/** Routes into the kernel, and how next hops are reached from it. */
export interface KernelFib {
  readonly sink: FibSink;
  readonly resolver: NextHopResolver;
  /** Ends it. Routes kept are found and adopted by the next life. */
  close(keepRoutes: boolean): Promise<void>;
}

export interface DaemonOptions {
  readonly file: string;
  readonly log: Logger;
  readonly signal: AbortSignal;
  readonly metrics?: { readonly address: string; readonly port: number };
  /** Makes what `fib: kernel` stands for. */
  readonly kernelFib?: (config: BgpConfig, log: Logger) => KernelFib | Promise<KernelFib>;
  /** Told the function that reads the file again, for SIGHUP. */
  readonly onReload?: (reload: () => void) => void;
}

/** Runs until the signal, or until `godwit bgp restart`. */
export async function runDaemon(options: DaemonOptions): Promise<void> {
  const { file, log } = options;
  const loaded = loadConfig(file);
  if (!loaded.ok) throw loaded.error;
  const config = loaded.value;
  const restarting = await leftOver(config.control);
  const fib = config.fib.type === 'kernel' ? await options.kernelFib?.(config, log) : undefined;
  if (config.fib.type === 'kernel' && !fib) throw new GodwitError('fib', 'this program has no kernel FIB');
  let said = false;
  using gate = new SweepGate({
    clock: systemClock,
    speaker: () => speaker,
    ready: () => said,
    open: () => {
      said = false; // once is enough
      fib?.sink.inSync();
    },
  });
  const inSync = () => {
    said = true;
    gate.look();
  };
  const speaker = createSpeaker({
    config,
    log,
    restarting,
    warmUp: true,
    ...(fib && { fib: { apply: (changes) => fib.sink.apply(changes), inSync }, resolver: fib.resolver }),
  });
  using _events = speaker.on((event) => gate.heard(event));

  const read = (path: string): BgpConfig => {
    const next = loadConfig(path);
    if (!next.ok) throw next.error;
    return next.value;
  };
  const reload = async (dryRun: boolean, path = file): Promise<ReloadReport> => {
    for (;;) {
      const next = read(path);
      const before = speaker.config;
      const diff = diffConfig(before, next);
      const routes = await planRoutes(speaker, next, diff);
      // while the routes were looked at, another reload may have been faster: what was read is older than what it applied
      if (speaker.config !== before) continue;
      if (!dryRun) speaker.apply(next);
      return { applied: !dryRun, ...reportOf(diff), routes };
    }
  };
  options.onReload?.(() => {
    try {
      const { neighbors } = reportOf(speaker.apply(read(file)));
      log.info({ changes: neighbors.filter((n) => n.what !== 'unchanged') }, 'configuration reloaded');
    } catch (error) {
      log.error({ error: messageOf(error) }, 'the configuration was not reloaded');
    }
  });

  const stop = new AbortController();
  if (options.signal.aborted) stop.abort();
  options.signal.addEventListener('abort', () => stop.abort(), { once: true });
  let planned = false;
  const running = speaker.run(stop.signal);
  let control: Disposable | undefined;
  try {
    await Promise.race([speaker.ready, running]);
    // neighbours that are near answer within this: their OPENs go out before anything else is made
    await sleep(5, stop.signal);
    if (config.control !== undefined) {
      control = serveControl(config.control, speaker, {
        reload,
        restart: () => {
          planned = true;
          speaker.vanish();
          stop.abort();
        },
      });
    }
    using _metrics = options.metrics && serveMetrics(speaker, options.metrics.address, options.metrics.port);
    log.info({ routerId: config.routerId, asn: config.asn, restarting }, 'speaker started');
    await running;
  } finally {
    // also when the socket or the metrics could not be served: neighbours are told, and routes go
    stop.abort();
    await running.catch(() => {});
    if (!planned) control?.[Symbol.dispose]();
    await fib?.close(planned);
  }
}

/** Whether an earlier life left its socket behind. Throws when it lives still. */
async function leftOver(path: string | undefined): Promise<boolean> {
  if (path === undefined || !existsSync(path)) return false;
  if (await new ControlClient(path).alive()) {
    throw new GodwitError('control', `another speaker answers at ${path}`, {
      hint: 'Stop it, or give this one another `control` path.',
    });
  }
  rmSync(path, { force: true });
  return true;
}

export function reportOf(diff: ConfigDiff): Pick<ReloadReport, 'neighbors' | 'networks' | 'needsRestart'> {
  const neighbors = [...diff.neighbors, ...diff.dynamic].map(([neighbor, change]) => ({
    neighbor,
    what: change.what,
    because: 'because' in change ? change.because : [],
  }));
  return { neighbors, networks: diff.networks, needsRestart: diff.needsRestart };
}
