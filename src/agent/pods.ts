/** The CNI server as the agent runs and reports it. */
import { err, printable } from '../base/mod.ts';
import type { Clock, Logger, Result } from '../base/mod.ts';
import { createCniServer } from '../cni/mod.ts';
import type { RoutedOptions } from '../cni/mod.ts';
import type { PodNetwork } from '../desired/mod.ts';
import { formatInterfaceAddress } from '../net/mod.ts';
import type { PodStatus } from '../status/mod.ts';
import type { AgentConfig } from './config.ts';

export interface PodServer {
  /** Serves in the network namespace this thread is in when it is called. */
  run(signal: AbortSignal): Promise<void>;
  readonly ready: boolean;
  /** Why a pod cannot be attached now; undefined when it can. */
  refusal(): string | undefined;
  pods(): PodStatus[];
  /** Brings running pods to another MTU, after a change of mode or uplink. */
  setMtu(mtu: number): void;
}

export function createPodServer(options: {
  readonly config: AgentConfig;
  readonly log: Logger;
  readonly clock: Clock;
  readonly network: () => Result<PodNetwork, string>;
  /** For routed networks: the writer of routes, and the datastore's side as soon as it is open. */
  readonly routed?: RoutedOptions;
  readonly onChange: () => void;
}): PodServer {
  const { config, log, clock, network, onChange, routed } = options;
  const server = createCniServer({
    ...{ socketPath: config.cniSocket, stateDirectory: `${config.stateDir}/cni`, network, log, clock, onChange },
    ...(routed && { routed }),
  });
  return {
    run: (signal) => server.run(signal),
    get ready() {
      return server.ready;
    },
    refusal() {
      const state = server.ready ? network() : err('it is not recovered yet');
      return state.ok ? undefined : state.error;
    },
    pods: () =>
      server.attachments().map(({ container, interface: name, addresses, hostInterface, pod }): PodStatus => {
        const of = pod === undefined ? {} : { pod: printable(`${pod.namespace}/${pod.name}`) };
        return { container, interface: name, addresses: addresses.map(formatInterfaceAddress), hostInterface, ...of };
      }),
    setMtu(mtu) {
      const { changed, faults } = server.setMtu(mtu);
      if (changed > 0) log.info({ mtu, pods: changed }, 'the MTU of running pods was changed');
      if (faults.length > 0) log.warn({ mtu, pods: faults.length, first: faults[0] }, 'pods keep their old MTU');
    },
  };
}
