/** What the tests here need: a RIB with neighbours made of wire messages, and their ends that read what comes out. */
import {
  addressBytes,
  addressFromBytes,
  familyOf,
  ip,
  prefixAddress,
  prefixFromBytes,
  prefixLength,
} from '../../net/mod.ts';
import type { Family, Prefix } from '../../net/mod.ts';
import {
  Framer,
  FrameStatus,
  IPV4_UNICAST,
  IPV6_UNICAST,
  MessageType,
  RouteSource,
  UpdateView,
  UpdateWriter,
  decodeAttributes,
  encodeAttributes,
} from '../wire/mod.ts';
import type { PathAttributes, PrefixBuffer, SessionContext } from '../wire/mod.ts';
import { directResolver } from './nexthops.ts';
import { ownAttributes } from './outbound.ts';
import { createRib } from './rib.ts';
import type { PeerConfig, PeerId, ReceiveResult, Rib, RibEvents, RibOptions } from './types.ts';

export const ownAs = 65000;
export const number = (text: string): number => new DataView(addressBytes(ip(text)).buffer).getUint32(0);

export function context(peerType: 'internal' | 'external', over: Partial<SessionContext> = {}): SessionContext {
  return {
    fourOctetAs: true,
    extendedMessages: false,
    peerType,
    families: new Set([IPV4_UNICAST, IPV6_UNICAST]),
    extendedNextHop: new Set(),
    addPathReceive: new Set(),
    addPathSend: new Set(),
    ...over,
  };
}

export function attributes(over: Partial<PathAttributes> & { path?: number[]; via?: string } = {}): PathAttributes {
  const { path = [], via = '10.0.0.9', ...rest } = over;
  return {
    ...ownAttributes(4),
    asPath: path.length > 0 ? [{ type: 2, asns: path }] : [],
    nextHop: { address: addressBytes(ip(via)), linkLocal: undefined },
    ...rest,
  };
}

function add(writer: UpdateWriter, prefix: Prefix): void {
  const bytes = new Uint8Array(16);
  bytes.set(addressBytes(prefixAddress(prefix)));
  const v = new DataView(bytes.buffer);
  const length = prefixLength(prefix);
  if (familyOf(prefix) === 4) writer.add4(v.getUint32(0), length);
  else writer.add6(v.getUint32(0), v.getUint32(4), v.getUint32(8), v.getUint32(12), length);
}

const afiSafiOf = (family: Family) => (family === 4 ? IPV4_UNICAST : IPV6_UNICAST);

/** Messages that announce or (without attributes) withdraw prefixes of one family. */
export function update(prefixes: readonly Prefix[], a?: PathAttributes, c = context('external')): Uint8Array {
  const writer = new UpdateWriter(c.extendedMessages ? 65535 : 4096);
  const family = afiSafiOf(familyOf(prefixes[0]!));
  if (!a) writer.withdraw(family);
  else if (!writer.announce(encodeAttributes(a, family, c))) throw new Error('too large');
  for (const prefix of prefixes) add(writer, prefix);
  writer.finish();
  return writer.out.copy();
}

export function endOfRib(family: Family): Uint8Array {
  const writer = new UpdateWriter();
  writer.endOfRib(afiSafiOf(family));
  writer.finish();
  return writer.out.copy();
}

export function prefixesOf(buffer: PrefixBuffer): Prefix[] {
  const out: Prefix[] = [];
  for (let i = 0; i < buffer.count; i++) {
    const bytes = new Uint8Array(4 * buffer.stride);
    const v = new DataView(bytes.buffer);
    for (let w = 0; w < buffer.stride; w++) v.setUint32(4 * w, buffer.words[i * buffer.stride + w]!);
    out.push(prefixFromBytes(bytes, buffer.lengths[i]!));
  }
  return out;
}

/** Attributes as one line of text, for comparing. */
export function show(a: PathAttributes): string {
  const hop = addressFromBytes(a.nextHop.address);
  return [
    `via ${hop}`,
    `path ${a.asPath.map((s) => (s.type === 1 ? `{${s.asns.join(' ')}}` : s.asns.join(' '))).join(' ')}`,
    `origin ${a.origin}`,
    ...(a.med === undefined ? [] : [`med ${a.med}`]),
    ...(a.localPref === undefined ? [] : [`pref ${a.localPref}`]),
    ...(a.communities.length > 0 ? [`communities ${a.communities.join(' ')}`] : []),
    ...(a.extendedCommunities.length > 0 ? [`extended ${a.extendedCommunities.join(' ')}`] : []),
    ...(a.originatorId === undefined ? [] : [`originator ${a.originatorId}`]),
    ...(a.clusterList.length > 0 ? [`clusters ${a.clusterList.join(' ')}`] : []),
  ].join(', ');
}

/** The far end of a session: keeps what it was told. */
export class FarEnd {
  readonly id: PeerId;
  readonly routes = new Map<Prefix, string>();
  /** Everything it was told, in order. */
  readonly log: string[] = [];
  readonly endOfRib: Family[] = [];
  private readonly bed: TestBed;
  readonly context: SessionContext;

  constructor(bed: TestBed, id: PeerId, c: SessionContext) {
    this.bed = bed;
    this.id = id;
    this.context = c;
  }

  announce(prefixes: readonly (Prefix | string)[], a: PathAttributes): ReceiveResult {
    return this.send(update(prefixes as Prefix[], a, this.context));
  }

  withdraw(prefixes: readonly (Prefix | string)[]): ReceiveResult {
    return this.send(update(prefixes as Prefix[], undefined, this.context));
  }

  send(bytes: Uint8Array): ReceiveResult {
    const framer = new Framer();
    framer.maxLength = 65535;
    framer.push(bytes);
    let result: ReceiveResult = { kind: 'ok' };
    while (framer.next() === FrameStatus.Message) {
      result = this.bed.rib.receive(this.id, framer.bytes, framer.start, framer.end);
    }
    return result;
  }

  /** Reads what there is, at most `limit` pieces. */
  read(limit = Number.MAX_SAFE_INTEGER, maxBytes = 65536): void {
    for (let n = 0; n < limit; n++) {
      const bytes = this.bed.rib.pull(this.id, maxBytes);
      if (!bytes) return;
      this.take(bytes);
    }
  }

  private take(bytes: Uint8Array): void {
    const framer = new Framer();
    framer.maxLength = 65535;
    framer.push(bytes);
    const view = new UpdateView();
    let status = framer.next();
    for (; status === FrameStatus.Message; status = framer.next()) {
      if (framer.type === MessageType.RouteRefresh) {
        this.log.push(`refresh ${framer.bytes[framer.start + 21]}`);
        continue;
      }
      const fault = view.decode(framer.bytes, framer.start, framer.end, this.context);
      if (fault) throw new Error(fault.reason);
      if (view.endOfRib !== undefined) {
        this.endOfRib.push(view.endOfRib === IPV4_UNICAST ? 4 : 6);
        this.log.push(`end of rib ${view.endOfRib === IPV4_UNICAST ? 4 : 6}`);
      }
      for (const buffer of [view.withdrawn, view.mpWithdrawn]) {
        for (const prefix of prefixesOf(buffer)) {
          this.log.push(`- ${prefix}`);
          this.routes.delete(prefix);
        }
      }
      this.announced(view, view.nlri, RouteSource.Nlri);
      this.announced(view, view.mpNlri, RouteSource.MpReach);
    }
    if (status !== FrameStatus.Incomplete) throw new Error(framer.error?.reason);
  }

  private announced(view: UpdateView, buffer: PrefixBuffer, source: RouteSource): void {
    if (buffer.count === 0) return;
    view.block(source);
    const outcome = decodeAttributes(view.blockBytes, view.blockStart, view.blockEnd, source, this.context);
    if (outcome.treatment !== 'ok') throw new Error(outcome.faults[0]?.reason);
    const text = show(outcome.attributes);
    for (const prefix of prefixesOf(buffer)) {
      this.log.push(`+ ${prefix} ${text}`);
      this.routes.set(prefix, text);
    }
  }

  /** What it was told since the last call. */
  news(): string[] {
    this.read();
    return this.log.splice(0);
  }
}

export class TestBed {
  readonly rib: Rib;
  readonly events: string[] = [];

  constructor(options: Partial<RibOptions> = {}, events: Partial<RibEvents> = {}) {
    this.rib = createRib({
      localAs: ownAs,
      routerId: number('10.0.0.1'),
      resolver: directResolver,
      events: {
        outputReady: () => {},
        workReady: () => {},
        endOfRib: (peer, family) => void this.events.push(`end of rib ${peer} ${family}`),
        maxPrefix: (peer, family, direction, level, count) =>
          void this.events.push(`max-prefix ${peer} ${family} ${direction} ${level} ${count}`),
        ...events,
      },
      ...options,
    });
  }

  config(n: number, remoteAs: number, over: Partial<PeerConfig> = {}): PeerConfig {
    return {
      name: `peer${n}`,
      address: ip(`10.0.0.${n}`),
      remoteAs,
      localAs: ownAs,
      families: { 4: {}, 6: {} },
      ...over,
    };
  }

  /** Adds a neighbour 10.0.0.n with a session. */
  peer(n: number, remoteAs: number, over: Partial<PeerConfig> = {}, c: Partial<SessionContext> = {}): FarEnd {
    const id = this.rib.addPeer(this.config(n, remoteAs, over));
    const end = new FarEnd(this, id, context(remoteAs === (over.localAs ?? ownAs) ? 'internal' : 'external', c));
    this.up(end, n);
    return end;
  }

  up(end: FarEnd, n: number): void {
    this.rib.sessionUp(end.id, {
      routerId: number(`10.0.0.${n}`),
      context: end.context,
      localAddress: { 4: ip('10.0.0.1'), 6: ip('fd00::1') },
    });
  }

  work(): void {
    while (this.rib.work());
  }
}
