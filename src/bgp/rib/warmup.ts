/**
 * Exercise for a RIB that has just started. The runtime interprets code until it has run often; a full table that arrives
 * at a fresh process would be worked off at a third of the speed that the second one is. So a speaker that expects large
 * tables runs a hundred thousand invented routes through a RIB of their own while it still waits for its first
 * session. They never meet the real tables.
 */
import { ip, prefix } from '../../net/mod.ts';
import { FrameStatus, Framer, IPV4_UNICAST, UpdateWriter, encodeAttributes } from '../wire/mod.ts';
import type { PathAttributes, SessionContext } from '../wire/mod.ts';
import { directResolver } from './nexthops.ts';
import { createRib } from './rib.ts';
import type { PeerId, Rib } from './types.ts';

/**
 * So many that the last compiler is through with everything a full table runs. Beside the first real one it would need a
 * second core and 10 MiB more.
 */
const rounds = 48;
const setsPerRound = 160;
const prefixesPerSet = 16;
const localAs = 64512;
const senderAs = 4200000001;

/** Run to its end, with whatever is urgent between the steps; a step takes some milliseconds. */
export function* warmUp(): Generator<void> {
  const rib = createRib({
    localAs,
    routerId: 1,
    resolver: directResolver,
    events: { outputReady() {}, workReady() {}, endOfRib() {}, maxPrefix() {} },
  });
  const sender = neighbor(rib, '192.0.2.1', senderAs);
  const receiver = neighbor(rib, '192.0.2.2', senderAs + 1);
  for (let round = 0; round < rounds; round++) {
    receive(rib, sender, table(round, false));
    yield;
    settle(rib, receiver);
    yield;
    if (round % 4 !== 3) continue;
    for (let back = round - 3; back < round; back++) receive(rib, sender, table(back, true));
    settle(rib, receiver);
    yield;
  }
  rib.sessionDown(sender);
  settle(rib, receiver);
}

function neighbor(rib: Rib, address: string, remoteAs: number): PeerId {
  const context: SessionContext = {
    fourOctetAs: true,
    extendedMessages: false,
    peerType: 'external',
    families: new Set([IPV4_UNICAST]),
    extendedNextHop: new Set(),
    addPathReceive: new Set(),
    addPathSend: new Set(),
  };
  const id = rib.addPeer({
    name: address,
    address: ip(address),
    remoteAs,
    localAs,
    sharedSubnet: prefix('198.51.100.0/24'),
    families: { 4: {} },
  });
  rib.sessionUp(id, { routerId: remoteAs, context, localAddress: { 4: ip('192.0.2.3') } });
  return id;
}

/** UPDATEs such as a full table is made of; the same prefixes for the same round. */
function table(round: number, withdraw: boolean): Uint8Array {
  const writer = new UpdateWriter();
  const nextHop = { address: Uint8Array.of(192, 0, 2, 1), linkLocal: undefined };
  for (let set = 0; set < setsPerRound; set++) {
    const asns = [senderAs, 64600 + (set % 20), 24000 + round, 70000 + set, 65000].slice(0, 3 + (set % 3));
    const attributes: PathAttributes = {
      origin: 0,
      asPath: [{ type: 2, asns }],
      nextHop,
      med: set % 8 === 0 ? set : undefined,
      localPref: undefined,
      atomicAggregate: false,
      aggregator: undefined,
      communities: Array.from({ length: set % 6 }, (_, i) => 64600 * 65536 + round * 100 + i),
      originatorId: undefined,
      clusterList: [],
      extendedCommunities: [],
      largeCommunities: [],
      unknown: [],
      partial: 0,
    };
    if (withdraw) writer.withdraw(IPV4_UNICAST);
    else writer.announce(encodeAttributes(attributes, IPV4_UNICAST, { fourOctetAs: true }));
    for (let i = 0; i < prefixesPerSet; i++) {
      // spread over all addresses: code compiled for small numbers would be compiled again for large ones
      const length = 24 - (i % 5);
      const number = (round * setsPerRound + set) * prefixesPerSet + i;
      writer.add4((Math.imul(number, 0x9e3779b1) & (-1 << (32 - length))) >>> 0, length);
    }
  }
  writer.finish();
  return writer.out.copy();
}

function receive(rib: Rib, peer: PeerId, bytes: Uint8Array): void {
  const framer = new Framer();
  framer.push(bytes);
  while (framer.next() === FrameStatus.Message) rib.receive(peer, framer.bytes, framer.start, framer.end);
}

function settle(rib: Rib, receiver: PeerId): void {
  for (let more = true; more;) {
    more = rib.work();
    while (rib.pull(receiver, 65536) !== undefined) more = true;
  }
}
