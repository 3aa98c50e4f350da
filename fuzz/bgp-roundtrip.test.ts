// What the codec encodes it decodes to the same again: attributes, OPEN, and prefixes packed into UPDATEs.
import { expect, test } from 'bun:test';
import {
  decodeAttributes,
  decodeOpen,
  encodeAttributes,
  encodeOpen,
  Framer,
  FrameStatus,
  IPV4_UNICAST,
  IPV6_UNICAST,
  MAX_EXTENDED_MESSAGE_LENGTH,
  MAX_MESSAGE_LENGTH,
  prefixAt,
  PrefixBuffer,
  RouteSource,
  UpdateView,
  UpdateWriter,
} from '../src/bgp/wire/mod.ts';
import { sessionContext } from '../tests/support/bgp-decode.ts';
import { anyAttributes, anyOpen } from './bgp-values.ts';
import { fuzzRun, type Random } from './random.ts';

test('OPEN', () => {
  const { random, rounds } = fuzzRun('OPEN', 2000);
  for (let i = 0; i < rounds; i++) {
    const open = anyOpen(random);
    const bytes = encodeOpen(open);
    expect(decodeOpen(bytes, 0, bytes.length)).toEqual({ ok: true, value: open });
  }
});

/** Prefixes with host bits zero, as flat arrays. */
function anyPrefixes(r: Random, ipv6: boolean, count: number): { words: Uint32Array; lengths: Uint8Array } {
  const stride = ipv6 ? 4 : 1;
  const words = new Uint32Array(count * stride);
  const lengths = new Uint8Array(count);
  for (let i = 0; i < count; i++) {
    const length = r.below(32 * stride + 1);
    lengths[i] = length;
    for (let w = 0; w < stride; w++) {
      const bits = Math.max(0, Math.min(32, length - 32 * w));
      words[i * stride + w] = bits === 0 ? 0 : r.u32() & (-1 << (32 - bits));
    }
  }
  return { words, lengths };
}

function collect(buffer: PrefixBuffer, into: string[]): void {
  for (let i = 0; i < buffer.count; i++) into.push(prefixAt(buffer, i));
}

test('attributes and prefixes through UPDATE messages', () => {
  const { random, rounds } = fuzzRun('UPDATE', 1500);
  for (let i = 0; i < rounds; i++) {
    const ipv6 = random.chance(2);
    const family = ipv6 ? IPV6_UNICAST : IPV4_UNICAST;
    const context = sessionContext({ fourOctetAs: !random.chance(3) });
    const attributes = anyAttributes(random, family);
    const maxLength = random.chance(3) ? MAX_EXTENDED_MESSAGE_LENGTH : MAX_MESSAGE_LENGTH;
    const writer = new UpdateWriter(maxLength);
    const announced = anyPrefixes(random, ipv6, 1 + random.below(random.chance(20) ? 3000 : 20));
    const withdrawn = anyPrefixes(random, ipv6, random.below(random.chance(20) ? 3000 : 20));
    expect(writer.announce(encodeAttributes(attributes, family, context))).toBe(true);
    writer.addAll(announced.words, announced.lengths, 0, announced.lengths.length);
    writer.withdraw(family);
    writer.addAll(withdrawn.words, withdrawn.lengths, 0, withdrawn.lengths.length);
    writer.endOfRib(family);
    writer.finish();

    const framer = new Framer();
    framer.maxLength = maxLength;
    framer.push(writer.out.view());
    const view = new UpdateView();
    const seen: string[] = [];
    const gone: string[] = [];
    let ends = 0;
    let messages = 0;
    while (framer.next() === FrameStatus.Message) {
      messages++;
      expect(framer.end - framer.start).toBeLessThanOrEqual(maxLength);
      expect(view.decode(framer.bytes, framer.start, framer.end, context)).toBeUndefined();
      collect(view.nlri, seen);
      collect(view.mpNlri, seen);
      collect(view.withdrawn, gone);
      collect(view.mpWithdrawn, gone);
      if (view.endOfRib === family) ends++;
      if (view.nlri.count + view.mpNlri.count === 0) continue;
      const source = ipv6 ? RouteSource.MpReach : RouteSource.Nlri;
      view.block(source);
      const outcome = decodeAttributes(view.blockBytes, view.blockStart, view.blockEnd, source, context);
      expect(outcome).toEqual({ treatment: 'ok', attributes });
    }
    const text = (p: typeof announced): string[] => {
      const buffer = Object.assign(new PrefixBuffer(), { stride: ipv6 ? 4 : 1 }, p);
      return Array.from(p.lengths, (_, n) => prefixAt(buffer, n));
    };
    expect(seen).toEqual(text(announced));
    expect(gone).toEqual(text(withdrawn));
    expect([ends, messages]).toEqual([1, writer.messages]);
  }
});
