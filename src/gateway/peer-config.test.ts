import { describe, expect, test } from 'bun:test';
import { ip } from '../net/mod.ts';
import { parseGatewayConfig } from './config.ts';
import { nextHopRemarks, peerConfig, peerFormats } from './peer-config.ts';
import type { PeerFormat } from './peer-config.ts';

function printed(format: PeerFormat, as: number, within = '10.244.0.0/16, 10.9.9.9/32, fd00::/48'): string {
  const parsed = parseGatewayConfig(`
announce: { within: [${within}] }
gateways: [{ name: gw, address: 192.168.1.1, as: ${as}, password: hunter2 }]
bgp: { routerId: 192.168.1.250, as: 64512 }
`);
  if (!parsed.ok) throw new Error(parsed.error.join('\n'));
  return peerConfig(parsed.value, parsed.value.bgp.neighbors[0]!, '192.168.1.250', format);
}

describe('print-config', () => {
  test.each([...peerFormats])('%s: never the password, both families, nothing out', (format) => {
    const text = printed(format, 65001);
    expect(text).not.toContain('hunter2');
    expect(text).toContain('PUT-THE-PASSWORD-HERE');
    for (const word of ['64512', '65001', '192.168.1.250', '10.244.0.0/16', 'fd00::/48']) expect(text).toContain(word);
    expect(text).toMatch(/GODWIT-OUT deny 10|export none|godwit-out then reject/);
  });

  test('IOS and EOS', () => {
    const ios = printed('cisco-ios', 65001);
    expect(ios).toContain('ip prefix-list GODWIT seq 5 permit 10.244.0.0/16 le 32\n');
    expect(ios).toContain('ip prefix-list GODWIT seq 10 permit 10.9.9.9/32\n');
    expect(ios).toContain('ipv6 prefix-list GODWIT seq 5 permit fd00::/48 le 128\n');
    const eos = printed('arista-eos', 65001);
    expect(eos).toContain('ipv6 prefix-list GODWIT\n   seq 5 permit fd00::/48 le 128\n');
    expect(eos).toContain('password 0 PUT');
    expect(printed('cisco-ios', 64512)).not.toContain('multihop');
    expect(printed('cisco-ios', 65001, '10.244.0.0/16')).not.toContain('ipv6');
  });

  test('Junos: internal groups have no peer-as and no multihop', () => {
    const external = printed('junos', 65001);
    expect(external).toContain('set protocols bgp group godwit multihop ttl 255\n');
    expect(external).toContain('set protocols bgp group godwit peer-as 64512\n');
    expect(external).toContain('set routing-options autonomous-system 65001\n');
    const internal = printed('junos', 64512);
    expect(internal).toContain('type internal');
    expect(internal).not.toMatch(/peer-as|multihop/);
  });

  test('remarks on next hops: each once, in order, and not all of many', () => {
    const few = ['192.168.1.12', '192.168.1.2', '192.168.1.12'].map((address) => ({ nextHop: ip(address) }));
    expect(nextHopRemarks(few, 'cisco-ios').split('\n').slice(0, 2)).toEqual([
      '! 3 prefixes are announced now; the gateway needs a route to each of their next hops:',
      '! 192.168.1.2, 192.168.1.12',
    ]);
    const many = Array.from({ length: 40 }, (_, i) => ({ nextHop: ip(`10.0.0.${i}`) }));
    expect(nextHopRemarks(many, 'junos')).toEndWith('10.0.0.11, and 28 more\n');
    expect(nextHopRemarks([], 'bird')).toEndWith('# none\n');
  });
});
