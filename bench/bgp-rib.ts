/**
 * The RIB alone: encoded UPDATEs in, encoded UPDATEs out, no sockets. Scenarios as in bench/bgp/README.md.
 *
 *     sh scripts/bun bench/bgp-rib.ts [S1 S2 …] [--check]
 *
 * Input is handed over in pieces of 64 KiB, round robin over the senders, as sockets would; `work` runs when all have had
 * their turn; receivers read whenever there is something. `--check` also decodes what comes out and counts the routes.
 */
import { ip } from '../src/net/mod.ts';
import { createRib, directResolver, warmUp } from '../src/bgp/rib/mod.ts';
import type { PeerId, Rib } from '../src/bgp/rib/mod.ts';
import { FrameStatus, Framer, IPV4_UNICAST, UpdateView } from '../src/bgp/wire/mod.ts';
import type { SessionContext } from '../src/bgp/wire/mod.ts';
import { Random, makeClient, makePrefixes, makeSender, nthAddress } from './bgp/load.ts';
import type { SenderLoad } from './bgp/load.ts';

const localAs = 65000;
const check = process.argv.includes('--check');
const wanted = process.argv.slice(2).filter((arg) => /^S\d$/.test(arg));
const chunkSize = 64 * 1024;

const context = (peerType: 'internal' | 'external'): SessionContext => ({
  fourOctetAs: true,
  extendedMessages: false,
  peerType,
  families: new Set([IPV4_UNICAST]),
  extendedNextHop: new Set(),
  addPathReceive: new Set(),
  addPathSend: new Set(),
});

/** One neighbour's two directions. */
class Session {
  readonly id: PeerId;
  readonly framer = new Framer();
  readonly routes = new Set<number>();
  bytes = 0;
  announced = 0;
  private readonly rib: Rib;
  private readonly view = new UpdateView();
  private readonly context: SessionContext;

  constructor(rib: Rib, address: string, remoteAs: number, receives: boolean) {
    this.rib = rib;
    const internal = remoteAs === localAs;
    this.context = context(internal ? 'internal' : 'external');
    this.id = rib.addPeer({
      name: address,
      address: ip(address),
      remoteAs,
      localAs,
      reflectorClient: internal,
      families: { 4: receives ? {} : { exportPolicy: refuse } },
    });
    const [a, b, c, d] = address.split('.').map(Number);
    rib.sessionUp(this.id, {
      routerId: (a! * 2 ** 24 + b! * 2 ** 16 + c! * 2 ** 8 + d!) >>> 0,
      context: this.context,
      localAddress: { 4: ip('10.0.0.1') },
    });
  }

  receive(chunk: Uint8Array): void {
    const { framer } = this;
    framer.push(chunk);
    while (framer.next() === FrameStatus.Message) {
      const result = this.rib.receive(this.id, framer.bytes, framer.start, framer.end);
      if (result.kind !== 'ok') throw new Error(JSON.stringify(result));
    }
  }

  drain(): void {
    for (let bytes = this.rib.pull(this.id, 256 * 1024); bytes; bytes = this.rib.pull(this.id, 256 * 1024)) {
      this.bytes += bytes.length;
      if (check) this.read(bytes);
    }
  }

  private read(bytes: Uint8Array): void {
    const { view } = this;
    for (let at = 0; at < bytes.length;) {
      const end = at + ((bytes[at + 16]! << 8) | bytes[at + 17]!);
      if (view.decode(bytes, at, end, this.context)) throw new Error('undecodable');
      for (let i = 0; i < view.nlri.count; i++) this.routes.add(view.nlri.words[i]! * 64 + view.nlri.lengths[i]!);
      for (let i = 0; i < view.withdrawn.count; i++) {
        this.routes.delete(view.withdrawn.words[i]! * 64 + view.withdrawn.lengths[i]!);
      }
      this.announced += view.nlri.count;
      at = end;
    }
  }
}

const refuse = {
  name: 'reject',
  perPrefix: false,
  rejectsAll: true,
  apply: () => ({ accept: false, reason: '' }) as const,
};

function newRib(): Rib {
  return createRib({
    localAs,
    routerId: 0x0a000001,
    resolver: directResolver,
    events: { outputReady() {}, workReady() {}, endOfRib() {}, maxPrefix() {} },
  });
}

const mib = (bytes: number): string => `${(bytes / 2 ** 20).toFixed(0)} MiB`;

/** Hands over everything, works and reads until nothing moves. */
function run(
  label: string,
  rib: Rib,
  input: readonly (readonly [Session, Uint8Array])[],
  all: readonly Session[],
  expect: number,
): void {
  const receivers = all;
  for (const s of all) {
    s.bytes = 0;
    s.announced = 0;
  }
  Bun.gc(true); // what making the load left behind is not the RIB's
  const start = performance.now();
  const cpu = process.cpuUsage();
  let left = input.map(([session, bytes]) => ({ session, bytes, at: 0 }));
  while (left.length > 0) {
    for (const sender of left) {
      sender.session.receive(sender.bytes.subarray(sender.at, (sender.at += chunkSize)));
    }
    left = left.filter((sender) => sender.at < sender.bytes.length);
    // the speaker lets input go on for a while before it exports
    if (left.length === 0 || !coalesce) settle(rib, receivers);
  }
  settle(rib, receivers);
  const ms = performance.now() - start;
  const used = process.cpuUsage(cpu);
  const out = receivers.reduce((sum, s) => sum + s.bytes, 0);
  const rss = mib(process.memoryUsage().rss);
  console.log(
    `${label.padEnd(28)} ${ms.toFixed(0).padStart(6)} ms   cpu ${((used.user + used.system) / 1000).toFixed(0)} ms   out ${mib(out)}, tables ${mib(rib.stats().bytes)}, RSS ${rss}`,
  );
  if (!check) return;
  const bad = receivers.filter((s) => s.routes.size !== expect && s.routes.size !== 0);
  const most = Math.max(...receivers.map((s) => s.announced));
  console.log(
    `   every receiver has ${expect}: ${bad.length === 0 ? 'yes' : `NO, ${bad[0]!.routes.size}`}; announced ${most} times`,
  );
}

const coalesce = !process.argv.includes('--eager');

function settle(rib: Rib, receivers: readonly Session[]): void {
  for (let more = true; more;) {
    more = rib.work();
    for (const s of receivers) s.drain();
    more ||= rib.pending;
  }
}

const sequence = (from: number, count: number): number[] => Array.from({ length: count }, (_, i) => from + i);

function oneToOne(name: string, count: number, more: boolean): void {
  const prefixes = makePrefixes(count, 1);
  const load = makeSender(prefixes, sequence(0, count), 4200001000, '10.0.1.1', 1);
  const rib = newRib();
  const sender = new Session(rib, '10.0.1.1', 4200001000, false);
  const receiver = new Session(rib, '10.0.128.1', 4200002000, true);
  receiver.drain();
  run(`${name} ${count} in ${load.sets} sets`, rib, [[sender, load.announce]], [receiver], count);
  if (!more) return;
  run('S7 withdraw', rib, [[sender, load.withdraw]], [receiver], 0);
  run('S2b again', rib, [[sender, load.announce]], [receiver], count);
  const start = performance.now();
  rib.sessionDown(sender.id);
  settle(rib, [receiver]);
  console.log(`${'S8 session lost'.padEnd(28)} ${(performance.now() - start).toFixed(0).padStart(6)} ms`);
}

function manyToMany(name: string, count: number, shared: boolean): void {
  const total = shared ? count : 10 * count;
  const prefixes = makePrefixes(total, 1);
  const rib = newRib();
  const input: [Session, Uint8Array][] = [];
  for (let s = 0; s < 10; s++) {
    const address = nthAddress('10.0.1.0', s);
    let load: SenderLoad;
    if (!shared) load = makeSender(prefixes, sequence(s * count, count), 4200001000 + s, address, s + 1);
    else {
      // everyone says all of it, in blocks of 4 and an order of its own; each block has one sender with a shorter path
      const random = new Random(77 + s);
      const blocks = sequence(0, count / 4);
      for (let i = blocks.length - 1; i > 0; i--) {
        const j = random.next(i + 1);
        [blocks[i], blocks[j]] = [blocks[j]!, blocks[i]!];
      }
      const winner = (prefix: number): boolean => (Math.imul((prefix >> 2) + 1, 0x9e3779b1) >>> 8) % 10 === s;
      const each = blocks.flatMap((b) => sequence(4 * b, 4));
      // sets are runs of one kind: first come, first served, winners and others mixed
      const order = [...each.filter((p) => winner(p)), ...each.filter((p) => !winner(p))];
      load = makeSender(prefixes, order, 4200001000 + s, address, s + 1, winner);
    }
    input.push([new Session(rib, address, 4200001000 + s, false), load.announce]);
  }
  const receivers = sequence(0, 10).map((r) => new Session(rib, nthAddress('10.0.128.0', r), 4200002000 + r, true));
  for (const r of receivers) r.drain();
  run(name, rib, input, receivers, total);
}

function reflector(name: string, clients: number, each: number): void {
  const rib = newRib();
  const sessions = sequence(0, clients).map((c) => new Session(rib, nthAddress('10.0.1.0', c), localAs, true));
  for (const s of sessions) s.drain();
  const input = sessions.map((s, c) => [s, makeClient(c, each, nthAddress('10.0.1.0', c)).announce] as const);
  run(name, rib, input, sessions, (clients - 1) * each);
}

if (process.argv.includes('--warm')) for (const _ of warmUp());

const scenarios: Record<string, () => void> = {
  S1: () => oneToOne('S1', 100_000, false),
  S2: () => oneToOne('S2', 1_000_000, true),
  S3: () => manyToMany('S3 10 x 100000 -> 10', 100_000, false),
  S4: () => manyToMany('S4 10 x the same 100000', 100_000, true),
  S5: () => reflector('S5 reflector, 200 x 4', 200, 4),
  S6: () => reflector('S6 reflector, 1000 x 2', 1000, 2),
};
for (const name of wanted.length > 0 ? wanted : Object.keys(scenarios)) scenarios[name]?.();
