import { describe, expect, test } from 'bun:test';
import { ManualClock } from '../../base/mod.ts';
import { ip } from '../../net/mod.ts';
import { parseTooBig, PathMtus } from './path-mtu.ts';

const packet = (hex: string) => Uint8Array.from(Buffer.from(hex.replaceAll(/\s/g, ''), 'hex'));
// from 192.168.1.1 to 192.168.1.2: fragmentation needed, MTU 1400, about IPIP from 192.168.1.2 to 192.168.2.2
const sample = `45c00038 00000000 40010000 c0a80101 c0a80102  03040000 00000578
  450005dc 00004000 40040000 c0a80102 c0a80202 4500000000000000`;

describe('what a router tells', () => {
  test('read', () => {
    expect(parseTooBig(packet(sample))).toEqual({
      from: ip('192.168.1.1'),
      source: ip('192.168.1.2'),
      destination: ip('192.168.2.2'),
      mtu: 1400,
    });
  });
  const others: [string, string][] = [
    ['another code', sample.replace('03040000', '03010000')],
    ['another protocol inside', sample.replace('40040000', '40060000')],
    ['another version inside', sample.replace('450005dc', '650005dc')],
  ];
  test.each(others)('%s is passed over', (_name, hex) => expect(parseTooBig(packet(hex))).toBeUndefined());
  test('no prefix of it is read beyond its end', () => {
    const whole = packet(sample);
    for (let length = 0; length < 48; length++) expect(parseTooBig(whole.subarray(0, length))).toBeUndefined();
  });
});

test('only less is believed, about our own packets to peers; it is forgotten after ten minutes', () => {
  const clock = new ManualClock();
  let changes = 0;
  const isPod = (address: string) => address.startsWith('10.233.');
  const paths = new PathMtus({ changed: () => changes++, clock, isPod });
  const [from, source, destination] = [ip('192.168.1.1'), ip('192.168.1.2'), ip('192.168.2.2')];
  paths.learn({ from, source, destination, mtu: 1400 });
  expect(changes).toBe(0);
  paths.setTunnel({
    ...{ device: 'tunl0', uplink: 'eth0', address: undefined, mtu: 1480, local: source },
    peers: new Set([destination]),
  });
  const refused = [
    { from: ip('10.233.1.7'), source, destination, mtu: 1400 },
    { from, source, destination: ip('192.168.9.9'), mtu: 1400 },
    { from, source: ip('192.168.9.9'), destination, mtu: 1400 },
    { from, source, destination, mtu: 1500 },
    { from, source, destination, mtu: 0 },
    { from, source, destination, mtu: 551 },
  ];
  for (const message of refused) paths.learn(message);
  expect([changes, paths.values().size]).toEqual([0, 0]);
  paths.learn({ from, source, destination, mtu: 1400 });
  paths.learn({ from, source, destination, mtu: 1400 });
  clock.advance(300_000);
  paths.learn({ from, source, destination, mtu: 1300 });
  expect([changes, paths.values()]).toEqual([2, new Map([[destination, 1300]])]);
  clock.advance(599_999);
  expect(paths.values().size).toBe(1);
  clock.advance(1);
  expect([changes, paths.values().size]).toEqual([3, 0]);
});
