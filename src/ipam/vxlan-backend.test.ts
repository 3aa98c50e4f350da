import { expect, test } from 'bun:test';
import { parseNetworkConfig } from './config.ts';
import { formatVtep, parseVxlanBackend, vtepOf } from './vxlan-backend.ts';

test('what a configuration says of the backend, with Flannel’s defaults', () => {
  expect(parseVxlanBackend({})).toEqual({ ok: true, value: { vni: 1, port: 8472, directRouting: false, mtu: 0 } });
  const given = parseNetworkConfig(
    '{"Network":"10.244.0.0/16","Backend":{"Type":"vxlan","VNI":7,"Port":4789,"DirectRouting":true,"MTU":9000,"GBP":true}}',
  );
  expect(given.ok && given.value.vxlan).toEqual({ vni: 7, port: 4789, directRouting: true, mtu: 9000 });
  const hostGw = parseNetworkConfig('{"Network":"10.244.0.0/16","Backend":{"Type":"host-gw","VNI":"x"}}');
  expect(hostGw.ok && hostGw.value.vxlan).toBeUndefined();
});

test.each([
  [{ VNI: 0 }, 'Backend.vni'],
  [{ VNI: 16_777_216 }, 'Backend.vni'],
  [{ Port: 70_000 }, 'Backend.port'],
  [{ DirectRouting: 'yes' }, 'Backend.directrouting'],
])('%j is refused with its key', (backend, key) => {
  const text = JSON.stringify({ Network: '10.244.0.0/16', Backend: { Type: 'vxlan', ...backend } });
  const parsed = parseNetworkConfig(text);
  expect(parsed.ok ? '' : parsed.error).toContain(key);
});

test('a lease’s end: read as Flannel writes it, and nothing that cannot be one', () => {
  const none = { publicIp: undefined, publicIpv6: undefined };
  const of = (backendData: unknown, backendType = 'vxlan') => vtepOf({ ...none, backendType, backendData }, 4);
  const data = { VNI: 1, VtepMAC: 'C6:d2:32:6f:8f:44' };
  expect(of(data)).toEqual({ vni: 1, mac: 'c6:d2:32:6f:8f:44' as never });
  expect(formatVtep(of(data)!)).toEqual({ VNI: 1, VtepMAC: 'c6:d2:32:6f:8f:44' });
  expect(vtepOf({ ...none, backendType: 'vxlan', backendV6Data: data }, 6)?.vni).toBe(1);
  for (const bad of [undefined, null, 'x', {}, { ...data, VtepMAC: 'x' }, { ...data, VtepMAC: '01:00:5e:00:00:01' }])
    expect(of(bad)).toBeUndefined();
  expect(of(data, 'host-gw')).toBeUndefined();
});
