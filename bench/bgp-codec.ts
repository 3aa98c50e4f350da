// The codec alone, on the load of a full table: 1 M IPv4 prefixes over 60 k attribute sets, one UPDATE a set and more
// where a set is large. Prints nanoseconds a prefix. `bun bench/bgp-codec.ts [prefixes] [sets]`
import {
  decodeAttributes,
  encodeAttributes,
  Framer,
  FrameStatus,
  IPV4_UNICAST,
  IPV6_UNICAST,
  type AfiSafi,
  type EncodedAttributes,
  type PathAttributes,
  RouteSource,
  type SessionContext,
  UpdateView,
  UpdateWriter,
} from '../src/bgp/wire/mod.ts';

const PREFIXES = Number(process.argv[2] ?? 1_000_000);
const SETS = Number(process.argv[3] ?? 60_000);
const ROUNDS = 5;
const CHUNK = 65536;

const context: SessionContext = {
  fourOctetAs: true,
  extendedMessages: false,
  peerType: 'external',
  families: new Set([IPV4_UNICAST, IPV6_UNICAST]),
  extendedNextHop: new Set(),
  addPathReceive: new Set(),
  addPathSend: new Set(),
};

/** A small generator of its own, so that every run sees the same load (mulberry32). */
function generator(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return (t ^ (t >>> 14)) >>> 0;
  };
}
const random = generator(1);

function makeAttributes(i: number, ipv6: boolean): PathAttributes {
  const asns = Array.from({ length: 3 + (random() % 4) }, () => 1 + (random() % 4_000_000_000));
  return {
    origin: 0,
    asPath: [{ type: 2, asns }],
    nextHop: { address: new Uint8Array(ipv6 ? 16 : 4).fill(10), linkLocal: undefined },
    med: i % 3 === 0 ? i : undefined,
    localPref: undefined,
    atomicAggregate: false,
    aggregator: undefined,
    communities: Array.from({ length: 1 + (random() % 4) }, () => random()),
    originatorId: undefined,
    clusterList: [],
    extendedCommunities: [],
    largeCommunities: [],
    unknown: [],
    partial: 0,
  };
}

interface Load {
  readonly family: AfiSafi;
  readonly attributes: PathAttributes[];
  /** Prefixes of set i are those from `first[i]` to `first[i + 1]`. */
  readonly first: Uint32Array;
  readonly words: Uint32Array;
  readonly lengths: Uint8Array;
}

function makeLoad(ipv6: boolean): Load {
  const stride = ipv6 ? 4 : 1;
  const words = new Uint32Array(PREFIXES * stride);
  const lengths = new Uint8Array(PREFIXES);
  for (let i = 0; i < PREFIXES; i++) {
    const short = random() % 10 >= 6;
    lengths[i] = ipv6 ? 32 + (random() % 33) : short ? 16 + (random() % 8) : 24;
    const shift = 32 - Math.min(32, lengths[i]!);
    words[i * stride] = ((random() >>> shift) << shift) >>> 0;
  }
  const sizes = Array.from({ length: SETS }, () => 1);
  // a skewed split: most sets are small, a few have thousands
  for (let left = PREFIXES - SETS; left > 0;) {
    const set = Math.floor(SETS * ((random() % 10_000) / 10_000) ** 3);
    const n = Math.min(left, 1 + (random() % 8));
    sizes[set]! += n;
    left -= n;
  }
  const first = new Uint32Array(SETS + 1);
  for (let i = 0; i < SETS; i++) first[i + 1] = first[i]! + sizes[i]!;
  const attributes = Array.from({ length: SETS }, (_, i) => makeAttributes(i, ipv6));
  return { family: ipv6 ? IPV6_UNICAST : IPV4_UNICAST, attributes, first, words, lengths };
}

function encodeLoad(load: Load, encoded: readonly EncodedAttributes[], writer: UpdateWriter): void {
  writer.out.reset();
  for (let i = 0; i < SETS; i++) {
    writer.announce(encoded[i]!);
    writer.addAll(load.words, load.lengths, load.first[i]!, load.first[i + 1]! - load.first[i]!);
  }
  writer.finish();
}

/** Receives the bytes in chunks as a socket would; `perUpdate` sees every message. Gives prefixes and a checksum. */
function decodeLoad(bytes: Uint8Array, view: UpdateView, perUpdate: (view: UpdateView) => void): [number, number] {
  const framer = new Framer();
  let prefixes = 0;
  let sum = 0;
  for (let at = 0; at < bytes.length; at += CHUNK) {
    framer.push(bytes.subarray(at, Math.min(bytes.length, at + CHUNK)));
    while (framer.next() === FrameStatus.Message) {
      const error = view.decode(framer.bytes, framer.start, framer.end, context);
      if (error) throw new Error(error.reason);
      const nlri = view.mpNlri.count > 0 ? view.mpNlri : view.nlri;
      prefixes += nlri.count;
      const { words, lengths, stride } = nlri;
      for (let i = 0; i < nlri.count; i++) sum = (sum + words[i * stride]! + lengths[i]!) | 0;
      perUpdate(view);
    }
  }
  return [prefixes, sum];
}

/** The best of a few rounds: the machine may be busy with other things. */
function best(run: () => void): number {
  let least = Infinity;
  for (let i = 0; i < ROUNDS; i++) {
    const start = Bun.nanoseconds();
    run();
    least = Math.min(least, Bun.nanoseconds() - start);
  }
  return least;
}

const perPrefix = (ns: number): string => `${(ns / PREFIXES).toFixed(1).padStart(6)} ns/prefix`;
const perSet = (ns: number): string => `${(ns / SETS).toFixed(0).padStart(6)} ns/set`;

for (const ipv6 of [false, true]) {
  const load = makeLoad(ipv6);
  const name = ipv6 ? 'IPv6' : 'IPv4';
  let encoded: EncodedAttributes[] = [];
  const attributesOut = best(() => {
    encoded = load.attributes.map((a) => encodeAttributes(a, load.family, context));
  });
  const writer = new UpdateWriter();
  const pack = best(() => encodeLoad(load, encoded, writer));
  const bytes = writer.out.copy();
  const view = new UpdateView();
  let total = [0, 0];
  const structure = best(() => {
    total = decodeLoad(bytes, view, () => {});
  });
  if (total[0] !== PREFIXES) throw new Error(`${total[0]} prefixes came back of ${PREFIXES}`);
  const source = ipv6 ? RouteSource.MpReach : RouteSource.Nlri;
  const everything = best(() => {
    decodeLoad(bytes, view, (v) => {
      v.block(source);
      const outcome = decodeAttributes(v.blockBytes, v.blockStart, v.blockEnd, source, context);
      if (outcome.treatment !== 'ok') throw new Error(outcome.treatment);
    });
  });
  const megabytes = (bytes.length / 1e6).toFixed(1);
  console.log(`${name}: ${PREFIXES} prefixes, ${SETS} sets, ${writer.messages / ROUNDS} messages, ${megabytes} MB`);
  console.log(`  decode structure and NLRI   ${perPrefix(structure)}`);
  console.log(`  decode attributes           ${perPrefix(everything - structure)} ${perSet(everything - structure)}`);
  console.log(`  encode attributes           ${perPrefix(attributesOut)} ${perSet(attributesOut)}`);
  console.log(`  pack UPDATEs                ${perPrefix(pack)}`);
}
