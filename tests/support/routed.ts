import { silentLogger, systemClock } from '../../src/base/mod.ts';
import { openBlockAccess } from '../../src/cni/mod.ts';
import type { CniServerOptions, RoutedOptions } from '../../src/cni/mod.ts';
import { openRouteKernel, RouteReconciler } from '../../src/dataplane/mod.ts';
import type { Datastore } from '../../src/datastore/mod.ts';
import type { RoutedNetwork } from '../../src/desired/mod.ts';
import { BlockIpam } from '../../src/ipam/blocks/mod.ts';
import type { SettingsSource } from '../../src/ipam/blocks/mod.ts';
import { encodeStored, parseGiven, resourceKey } from '../../src/model/mod.ts';
import { writeSysctl } from '../../src/sys/mod.ts';
import { TestNode } from './cni.ts';
import type { TestNamespaces } from './netns.ts';

export const routedNetwork: RoutedNetwork = { mtu: 1480, families: [4, 6] };

export async function putPool(store: Datastore, name: string, spec: Readonly<Record<string, unknown>>): Promise<void> {
  const parsed = parseGiven({ kind: 'IPPool', apiVersion: 'projectcalico.org/v3', metadata: { name }, spec });
  if (!parsed.ok) throw new Error(JSON.stringify(parsed.error));
  await store.put(resourceKey('IPPool', name), encodeStored(parsed.value));
}

/** The pools of the figure, and an IPv6 one. */
export async function putPools(store: Datastore): Promise<void> {
  await putPool(store, 'pool4', { cidr: '10.233.0.0/16', blockSize: 26 });
  await putPool(store, 'pool6', { cidr: 'fd00:10:233::/48', blockSize: 122 });
}

/** A writer of routes in the namespace this thread is in, running until it is disposed. */
export class RunningRoutes implements AsyncDisposable {
  readonly routes = new RouteReconciler({ kernel: openRouteKernel() });
  private readonly stopping = new AbortController();
  private readonly running: Promise<void>;

  constructor() {
    this.running = this.routes.run(this.stopping.signal);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.stopping.abort();
    await this.running;
  }
}

/** What a server of routed pods needs, on this datastore. */
export function routedOptions(store: Datastore, routes: RouteReconciler, settings?: SettingsSource): RoutedOptions {
  const node = 'node1';
  const ipam = new BlockIpam({ store, node, ...(settings && { settings }) });
  const access = openBlockAccess({ ipam, store, node, clock: systemClock, log: silentLogger });
  return { routes, blocks: () => access };
}

/** A node whose pods are routed. */
export class RoutedNode extends TestNode {
  private readonly datastore: Datastore | undefined;
  private writer: RunningRoutes | undefined;

  /** Without a datastore it cannot be started, and is a place for an agent of its own process. */
  constructor(spaces: TestNamespaces, datastore?: Datastore) {
    super(spaces);
    this.datastore = datastore;
    this.network = { ok: true, value: routedNetwork };
    spaces.run('host', 'ip', 'link', 'del', 'cni0');
    const uplink = `ip link set lo up; ip link add up0 type bridge; ip link set up0 up
      ip addr add 192.0.2.1/24 dev up0; ip addr add 2001:db8::1/64 dev up0 nodad; ip route add default via 192.0.2.254`;
    spaces.run('host', 'sh', '-c', uplink);
    writeSysctl('net/ipv4/ip_forward', 1);
    writeSysctl('net/ipv6/conf/all/forwarding', 1);
  }

  get routes(): RouteReconciler {
    return this.writer!.routes;
  }

  override async start(options: Partial<CniServerOptions> = {}): Promise<void> {
    if (!this.datastore) throw new Error('this node has no datastore');
    this.writer = new RunningRoutes();
    await super.start({ routed: routedOptions(this.datastore, this.routes), ...options });
  }

  override async stop(): Promise<void> {
    await super.stop();
    await this.writer?.[Symbol.asyncDispose]();
    this.writer = undefined;
  }
}
