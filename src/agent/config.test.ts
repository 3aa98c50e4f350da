import { describe, expect, test } from 'bun:test';
import { environmentOf, flagOf, optionNames, parseConfig } from './config.ts';

const minimal = { node: 'node1', datastore: 'etcd://127.0.0.1:2379' };

describe('parseConfig', () => {
  test('defaults', () => {
    const config = parseConfig({ flags: minimal, environment: {} });
    expect(config).toMatchObject({
      ok: true,
      value: {
        ...minimal,
        etcdPrefix: '/coreos.com/network',
        addressMethod: { type: 'first-found' },
        bridge: 'cni0',
        mtu: 'auto',
        ipMasq: true,
        socket: '/run/godwit/agent.sock',
        cniSocket: '/run/godwit/cni.sock',
        listen: { host: '127.0.0.1', port: 9470 },
        resyncSeconds: 60,
      },
    });
  });

  test('a flag wins over the environment, that over the file', () => {
    const file = { path: 'agent.yaml', values: { ...minimal, mtu: 1400, bridge: 'br0', ipMasq: false } };
    const environment = { GODWIT_MTU: '1410', GODWIT_BRIDGE: 'br1', GODWIT_IP_MASQ: '' };
    const config = parseConfig({ flags: { mtu: '1420' }, environment, file });
    expect(config).toMatchObject({ ok: true, value: { mtu: 1420, bridge: 'br1', ipMasq: false } });
  });

  test('an error names origin, value and what is allowed; all faults at once', () => {
    const file = { path: '/etc/godwit/agent.yaml', values: { mtu: 12, nonsense: 1, logLevel: 'loud' } };
    const environment = { GODWIT_ADDRESS_METHOD: 'fastest', GODWIT_LISTEN: 'here' };
    const result = parseConfig({ flags: { node: 'Node_1' }, environment, file });
    const text = result.ok ? '' : result.error.message;
    expect(
      text
        .split('\n')
        .slice(1)
        .map((line) => line.trim()),
    ).toEqual([
      expect.stringContaining('/etc/godwit/agent.yaml: nonsense: no such option; there are node, datastore'),
      expect.stringContaining('--node: "Node_1" is not allowed; wanted: lower-case letters'),
      expect.stringContaining('--datastore (or GODWIT_DATASTORE, or datastore in the file): nothing is not allowed'),
      expect.stringContaining('GODWIT_ADDRESS_METHOD: "fastest" is not allowed; wanted: first-found, can-reach='),
      expect.stringContaining(
        '/etc/godwit/agent.yaml: mtu: 12 is not allowed; wanted: auto, or a whole number from 1280',
      ),
      expect.stringContaining('GODWIT_LISTEN: "here" is not allowed; wanted: ADDRESS:PORT, or off'),
      expect.stringMatching(/agent\.yaml: logLevel: "loud" is not allowed; wanted: .*"debug"/),
    ]);
  });

  test.each(['text', [1], 7])('a file that is not a mapping: %p', (values) => {
    expect(parseConfig({ flags: minimal, environment: {}, file: { path: 'x', values } }).ok).toBe(false);
  });

  test('hostile keys in the file are refused', () => {
    const values: unknown = JSON.parse('{"__proto__": {"node": "x"}, "constructor": 1}');
    const result = parseConfig({ flags: minimal, environment: {}, file: { path: 'x', values } });
    expect(result.ok).toBe(false);
  });

  test('names', () => {
    expect([flagOf('address6Method'), environmentOf('address6Method')]).toEqual([
      '--address6-method',
      'GODWIT_ADDRESS6_METHOD',
    ]);
    expect(new Set(optionNames.map(flagOf)).size).toBe(optionNames.length);
  });
});
