/** The CNI server as the agent runs and reports it. */
import { err, printable } from '../base/mod.ts';
import type { Clock, Logger, Result } from '../base/mod.ts';
import { createCniServer } from '../cni/mod.ts';
import type { BridgeNetwork } from '../desired/mod.ts';
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
}

export function createPodServer(options: {
  readonly config: AgentConfig;
  readonly log: Logger;
  readonly clock: Clock;
  readonly network: () => Result<BridgeNetwork, string>;
  readonly onChange: () => void;
}): PodServer {
  const { config, log, clock, network, onChange } = options;
  const server = createCniServer({
    ...{ socketPath: config.cniSocket, stateDirectory: `${config.stateDir}/cni`, network, log, clock, onChange },
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
  };
}
