// What a packet costs from pod to pod across two nodes: routed veths and Calico's pools (plain, IPIP, VXLAN) against the
// bridge and host-gw layout, in turn and in one run. The agents are the real ones and make everything, without masquerading
// on either side (it brings connection tracking along). The sender is charged for the whole way, up to a socket at the other
// end that nobody reads: what the kernel does for a packet on a veth it does in the time of who sent it, and the time is the
// processor's, not the clock's, so others on the machine do not count. `npm run bench forwarding [ROUNDS]`.
import { installExecutable } from '../src/cni/mod.ts';
import { Cluster } from '../tests/agent/cluster.ts';
import { poolOf, putResource } from '../tests/support/calico.ts';
import { pluginFromSource, runPlugin } from '../tests/support/cni.ts';
import { until } from '../tests/support/netns.ts';
import { median } from './lib/figures.ts';

const ROUNDS = Number(process.argv[2] ?? 15);
const PACKETS = 20_000;
const BYTES = 1372;
const POOLS = { plain: '10.233.0.0/18', ipip: '10.233.64.0/18', vxlan: '10.233.128.0/18' } as const;
const PROCESSOR = String(navigator.hardwareConcurrency - 1);

await using cluster = await Cluster.start({ nodes: [1, 2, 3, 4] });
// two nodes of each kind, with nothing between them but their own link
for (const [a, b] of [
  [1, 2],
  [3, 4],
] as const) {
  const names = [a, b].map((n) => cluster.spaces.name(`n${n}`));
  for (const n of [a, b]) cluster.node(n).run('ip', 'link', 'del', 'eth0');
  cluster.node(a).run('ip', 'link', 'add', 'eth0', 'type', 'veth', 'peer', 'name', 'eth0', 'netns', names[1]!);
  for (const n of [a, b]) {
    const up = `ip link set eth0 up; ip address add 10.168.0.${n}/24 dev eth0`;
    cluster.node(n).run('sh', '-c', up);
  }
}
await putResource(cluster.store, poolOf(POOLS.plain));
await putResource(cluster.store, poolOf(POOLS.ipip, { ipipMode: 'Always' }));
await putResource(cluster.store, poolOf(POOLS.vxlan, { vxlanMode: 'Always' }));
const plugin = `${cluster.directory}/plugin`;
for (const n of [1, 2, 3, 4]) cluster.node(n).start(['--no-ip-masq', ...(n < 3 ? [] : ['--network', 'blocks'])]);

let pods = 0;
async function pod(n: number, pool?: string): Promise<{ name: string; address: string }> {
  const short = `p${++pods}`;
  cluster.spaces.add(short);
  const socket = `${cluster.node(n).directory}/run/cni.sock`;
  installExecutable(plugin, socket, [pluginFromSource]);
  const ipam = pool === undefined ? {} : { ipam: { type: 'calico-ipam', ipv4_pools: [pool] } };
  const config = { cniVersion: '1.0.0', name: 'bench', type: 'godwit', socket, ...ipam };
  const call = { container: short, netns: cluster.spaces.path(short), config };
  const added = await until(
    `${short} is attached`,
    async () => {
      const answer = await runPlugin('ADD', call, plugin);
      if (answer.status !== 0 && answer.json.code !== 11) throw new Error(answer.stdout);
      return answer.status === 0 ? answer : undefined;
    },
    40_000,
  );
  return { name: cluster.spaces.name(short), address: added.json.ips![0]!.address.split('/')[0]! };
}

class Layout implements Disposable {
  readonly title: string;
  readonly microseconds: number[] = [];
  private readonly children: Bun.Subprocess[] = [];
  private readonly lines: AsyncIterator<Uint8Array>;
  private readonly sender: Bun.Subprocess<'pipe', 'pipe', 'inherit'>;

  constructor(title: string, from: { name: string }, to: { name: string; address: string }) {
    this.title = title;
    const inside = (name: string) => ['ip', 'netns', 'exec', name];
    // a reader that never reads: its socket fills and the kernel drops
    const deaf = `Bun.udpSocket({ hostname: '0.0.0.0', port: 9, socket: {} }).then((s) => Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0))`;
    this.children.push(
      Bun.spawn([...inside(to.name), process.execPath, '-e', deaf], { stdio: ['ignore', 'ignore', 'inherit'] }),
    );
    const script = `${import.meta.dir}/lib/send.ts`;
    const command = [process.execPath, script, to.address, String(PACKETS), String(BYTES)];
    this.sender = Bun.spawn([...inside(from.name), 'taskset', '-c', PROCESSOR, ...command], {
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    this.children.push(this.sender);
    this.lines = this.sender.stdout[Symbol.asyncIterator]();
  }

  private async line(): Promise<string> {
    const { value } = await this.lines.next();
    return Buffer.from(value as Uint8Array).toString();
  }

  async ready(): Promise<void> {
    await this.line();
  }

  async round(): Promise<number> {
    await this.sender.stdin.write('go\n');
    await this.sender.stdin.flush();
    return (Number(await this.line()) * 1000) / PACKETS;
  }

  [Symbol.dispose](): void {
    for (const child of this.children) child.kill('SIGKILL');
  }
}

const reached = async (from: { name: string }, address: string): Promise<void> => {
  const ping = () => Bun.spawnSync(['ip', 'netns', 'exec', from.name, 'ping', '-c1', '-W1', address]).exitCode === 0;
  await until(`${address} is reached`, ping, 40_000);
};

const layouts: Layout[] = [];
try {
  for (const [title, nodes, pool] of [
    ['bridge + host-gw', [1, 2], undefined],
    ['routed', [3, 4], POOLS.plain],
    ['routed, IPIP', [3, 4], POOLS.ipip],
    ['routed, VXLAN', [3, 4], POOLS.vxlan],
  ] as const) {
    const [from, to] = [await pod(nodes[0], pool), await pod(nodes[1], pool)];
    await reached(from, to.address);
    const layout = new Layout(title, from, to);
    layouts.push(layout);
    await layout.ready();
  }
  for (let round = -2; round < ROUNDS; round++) {
    for (const layout of round % 2 === 0 ? layouts : layouts.toReversed()) {
      const microseconds = await layout.round();
      if (round >= 0) layout.microseconds.push(microseconds);
    }
  }
} finally {
  for (const layout of layouts) layout[Symbol.dispose]();
}

console.log(`\nprocessor time, UDP ${BYTES} bytes, ${ROUNDS} rounds of ${PACKETS} packets in turn; median`);
const of = (i: number): readonly number[] => layouts[i]!.microseconds;
const ratio = (i: number, j: number): string => median(of(i).map((value, n) => value / of(j)[n]!)).toFixed(2);
for (const [i, layout] of layouts.entries()) {
  const compare = [
    '',
    `${ratio(1, 0)} × the bridge (goal 0.95)`,
    `${ratio(2, 1)} × plain (goal 1.3)`,
    `${ratio(3, 1)} × plain`,
  ][i]!;
  console.log(
    `  ${layout.title.padEnd(18)} ${median(layout.microseconds).toFixed(2).padStart(6)} µs a packet   ${compare}`,
  );
}
