/** A node of routed pods whose agent is a process of its own, with etcd beside it: for tests that kill and stop them. */
import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { expect } from 'bun:test';
import { openDatastore } from '../../src/datastore/mod.ts';
import type { Datastore } from '../../src/datastore/mod.ts';
import { AgentProcess } from './cni.ts';
import { startEtcd } from './datastores.ts';
import type { RunningStore } from './datastores.ts';
import { TestNamespaces, until } from './netns.ts';
import { putPools, RoutedNode } from './routed.ts';

export class MortalNode implements AsyncDisposable {
  readonly spaces: TestNamespaces;
  readonly node: RoutedNode;
  readonly etcd: RunningStore;
  agent: AgentProcess | undefined;
  private readonly store: Datastore;
  private pods = 0;

  private constructor(spaces: TestNamespaces, node: RoutedNode, etcd: RunningStore, store: Datastore) {
    this.spaces = spaces;
    this.node = node;
    this.etcd = etcd;
    this.store = store;
  }

  static async make(): Promise<MortalNode> {
    const spaces = new TestNamespaces();
    // this process is in the node's namespace from here on, and etcd with it
    const node = new RoutedNode(spaces);
    const etcd = await startEtcd();
    const store = await openDatastore(etcd.url);
    await putPools(store);
    return new MortalNode(spaces, node, etcd, store);
  }

  async start(): Promise<void> {
    this.agent = await AgentProcess.start(this.spaces.path('host'), this.node, this.etcd.url);
  }

  async kill(): Promise<void> {
    await this.agent?.kill();
  }

  pod(name = `pod-${this.pods + 1}`) {
    const short = `p${++this.pods}`;
    const netns = this.node.pod(short);
    const container = `container-${this.pods}`;
    const args = `IgnoreUnknown=1;K8S_POD_NAMESPACE=shop;K8S_POD_NAME=${name};K8S_POD_UID=u`;
    return { short, netns, container, call: () => ({ container, netns, args, config: this.node.config() }) };
  }

  hostLinks(): string[] {
    const links = JSON.parse(this.spaces.run('host', 'ip', '-j', 'link')) as { ifname: string }[];
    return links.map((l) => l.ifname).filter((name) => name.startsWith('cali'));
  }

  /** Files of the agent's state: `attachments`, `owed`. */
  files(kind: string): string[] {
    const directory = join(this.node.stateDirectory, kind);
    return existsSync(directory) ? readdirSync(directory) : [];
  }

  private async keys(prefix: string): Promise<string[]> {
    return (await this.store.list(prefix)).kvs.map((kv) => kv.key);
  }

  handles(): Promise<string[]> {
    return this.keys('/calico/ipam/v2/handle/');
  }

  /** The addresses of a pod's eth0 in truth. */
  inside(short: string): string[] {
    const links = JSON.parse(this.spaces.run(short, 'ip', '-j', 'addr') || '[]') as {
      ifname: string;
      addr_info: { local: string; scope: string }[];
    }[];
    const of = links.filter((l) => l.ifname === 'eth0').flatMap((l) => l.addr_info);
    return of.filter((a) => a.scope === 'global').map((a) => a.local);
  }

  async nothingLeft(): Promise<void> {
    expect([this.hostLinks(), this.files('attachments')]).toEqual([[], []]);
    expect(this.spaces.run('host', 'ip', 'route', 'show', 'proto', '71')).toBe('');
    await until('every address is given back', async () => (await this.handles()).length === 0, 40_000);
    const endpoints = () => this.keys('/calico/resources/v3/projectcalico.org/workloadendpoints/');
    await until('no endpoint is known', async () => (await endpoints()).length === 0);
    await until('nothing is owed', () => this.files('owed').length === 0);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.kill();
    await this.store[Symbol.asyncDispose]();
    await this.etcd[Symbol.asyncDispose]();
    await this.node[Symbol.asyncDispose]();
    this.spaces[Symbol.dispose]();
  }
}
