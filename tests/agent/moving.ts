// A cluster on its way from leases to blocks, as tests of it need one: pods by the real plugin, the real command, and
// streams of packets between pods of which none may be lost.
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { expect } from 'bun:test';
import type { MigrationPlan, MigrationStatus } from '../../src/migrate/mod.ts';
import { repositoryRoot } from '../../scripts/lib/process.ts';
import { runPlugin } from '../support/cni.ts';
import { until } from '../support/netns.ts';
import { nothingLost, Traffic } from '../support/traffic.ts';
import type { Cluster } from './cluster.ts';

export class Moving implements Disposable {
  readonly cluster: Cluster;
  /** Addresses by pod, in the plugin's order. */
  readonly pods = new Map<string, { readonly addresses: readonly string[]; readonly number: number }>();
  private readonly streams: Traffic[] = [];

  constructor(cluster: Cluster) {
    this.cluster = cluster;
  }

  [Symbol.dispose](): void {
    for (const stream of this.streams) stream[Symbol.dispose]();
  }

  get environment() {
    return { ...process.env, GODWIT_DATASTORE: this.cluster.url, NO_COLOR: '1' };
  }

  readonly program: readonly string[] = [process.execPath, join(repositoryRoot, 'src/main.ts')];

  godwit(...args: string[]) {
    const [executable = '', ...rest] = this.program;
    const options = { encoding: 'utf8', env: this.environment } as const;
    const { status, stdout, stderr } = spawnSync(executable, [...rest, ...args], options);
    return { status, out: stdout.trimEnd(), error: stderr.trimEnd() };
  }

  status(): MigrationStatus[] {
    return JSON.parse(this.godwit('migrate', 'status', '--json').out) as MigrationStatus[];
  }

  plan(...args: string[]): MigrationPlan {
    return JSON.parse(this.godwit('migrate', 'plan', '--json', ...args).out) as MigrationPlan;
  }

  /** The pod's first address. */
  async addPod(name: string, number: number): Promise<string> {
    this.cluster.spaces.add(name);
    const answer = await this.call('ADD', name, number);
    if (answer.status !== 0) throw new Error(`${answer.stdout}\n${this.cluster.node(number).log().slice(-800)}`);
    const addresses = answer.json.ips!.map(({ address }) => address.split('/')[0]!);
    this.pods.set(name, { addresses, number });
    return addresses[0]!;
  }

  async removePod(name: string): Promise<void> {
    expect((await this.call('DEL', name, this.pods.get(name)!.number)).status).toBe(0);
    this.pods.delete(name);
    this.cluster.spaces.remove(name);
  }

  /** A stream from each of these pods to each other of them, in every family both have. */
  async flow(...names: string[]): Promise<void> {
    for (const a of names) {
      for (const b of names) {
        if (a === b) continue;
        for (const [i, to] of this.pods.get(b)!.addresses.entries()) {
          const from = this.pods.get(a)!.addresses[i];
          if (from === undefined) continue;
          // the neighbour is looked up, and what waits for that is no packet of the stream
          await until(`${a} reaches ${b}`, () => this.cluster.spaces.status(a, 'ping', '-c1', '-W1', to) === 0);
          const stream = new Traffic(this.cluster.spaces.name(a), from, to);
          this.streams.push(stream);
          await stream.flowing();
        }
      }
    }
  }

  /** Ends all streams; together they are to be of so many packets. */
  async nothingLost(packets = 500): Promise<void> {
    const sent = await nothingLost(this.streams.splice(0));
    expect(sent.reduce((sum, count) => sum + count, 0)).toBeGreaterThan(packets);
  }

  /** Agents are started anew, one after the other, with these options. */
  async restart(...options: string[]): Promise<void> {
    for (const node of this.cluster.nodes.values()) {
      await node.stop();
      node.start(options);
    }
    for (const node of this.cluster.nodes.values()) await node.ready();
  }

  /** All agents say that they run both networks, and that new pods come from there. */
  async allAt(stage: 'subnets' | 'blocks'): Promise<void> {
    await until(`all are ready, and at ${stage}`, () => {
      const at = this.status().filter((node) => node.ready && node.stage === stage);
      return at.length === this.cluster.nodes.size;
    });
  }

  private call(verb: 'ADD' | 'DEL', name: string, number: number) {
    return runPlugin(verb, {
      ...{ container: name, netns: this.cluster.spaces.path(name) },
      args: `IgnoreUnknown=1;K8S_POD_NAMESPACE=shop;K8S_POD_NAME=${name};K8S_POD_UID=u`,
      config: {
        ...{ cniVersion: '1.1.0', name: 'pods', type: 'godwit' },
        socket: `${this.cluster.node(number).directory}/run/cni.sock`,
      },
    });
  }
}
