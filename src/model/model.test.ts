import { describe, expect, test } from 'bun:test';
import { encodeStored, parseGiven, parseStored } from './resource.ts';
import { formatDuration, parseDuration } from './duration.ts';
import { goJson, parseJson } from './json.ts';
import { describeProblem } from './problem-text.ts';
import { kindByName } from './kinds.ts';
import { parseResourceKey, resourceKey } from './keys.ts';
import { ResourceStore } from './store.ts';

const object = (kind: string, spec: unknown, name = 'default', metadata: object = {}) => ({
  kind,
  apiVersion: 'projectcalico.org/v3',
  metadata: { name, ...metadata },
  spec,
});

function problems(value: unknown): string[] {
  const parsed = parseGiven(value);
  return parsed.ok ? [] : parsed.error.map(describeProblem);
}

describe('what a person gives', () => {
  test.each<[string, unknown, string]>([
    ['unknown kind', object('Pool', {}), 'kind: "Pool" is not; allowed: FelixConfiguration'],
    [
      'wrong version',
      { ...object('Node', {}), apiVersion: 'v1' },
      'apiVersion: "v1" is not; allowed: projectcalico.org/v3',
    ],
    ['no name', { kind: 'Node', apiVersion: 'projectcalico.org/v3', metadata: {} }, 'metadata.name: is missing'],
    ['bad name', object('Node', {}, 'Node_1'), 'metadata.name: "Node_1" is not'],
    ['a namespace', object('Node', {}, 'n', { namespace: 'x' }), 'metadata.namespace: "x" is not; allowed: none'],
    [
      'no namespace',
      object('WorkloadEndpoint', { node: 'n', orchestrator: 'k8s', pod: 'p', endpoint: 'e' }, 'n-k8s-p-e'),
      'metadata.namespace: is missing',
    ],
    [
      'unknown field',
      object('IPPool', { cidr: '10.0.0.0/16', ciddr: 1 }),
      'spec.ciddr: is not known here; allowed: cidr, vxlanMode',
    ],
    ['unknown at the top', { ...object('Node', {}), sepc: {} }, 'sepc: is not known here'],
    [
      'host bits',
      object('IPPool', { cidr: '10.0.0.1/16' }),
      'spec.cidr: "10.0.0.1/16" is not; allowed: an IPv4 or IPv6 prefix',
    ],
    ['missing cidr', object('IPPool', {}), 'spec.cidr: is missing'],
    [
      'blockSize',
      object('IPPool', { cidr: '10.0.0.0/16', blockSize: 33 }),
      'spec.blockSize: 33 is not; allowed: 20 to 32 for IPv4',
    ],
    [
      'small pool',
      object('IPPool', { cidr: '10.0.0.0/27' }),
      'spec.cidr: 10.0.0.0/27 is smaller than one block of /26',
    ],
    [
      'both tunnels',
      object('IPPool', { cidr: '10.0.0.0/16', ipipMode: 'Always', vxlanMode: 'CrossSubnet' }),
      'spec.ipipMode: Always is not while vxlanMode',
    ],
    ['ipip v6', object('IPPool', { cidr: 'fd00::/64', ipipMode: 'Always' }), 'spec.ipipMode: Always is not for IPv6'],
    [
      'mode',
      object('IPPool', { cidr: '10.0.0.0/16', ipipMode: 'always' }),
      'spec.ipipMode: "always" is not; allowed: Never, Always, CrossSubnet',
    ],
    ['link-local', object('IPPool', { cidr: '169.254.0.0/16' }), 'spec.cidr: 169.254.0.0/16 overlaps 169.254.0.0/16'],
    ['selector', object('IPPool', { cidr: '10.0.0.0/16', nodeSelector: 'a = 1' }), 'at character 3: expected =='],
    [
      'two peers',
      object('BGPPeer', { peerIP: '10.0.0.1', peerSelector: 'all()' }),
      'spec.peerIP: stands beside peerSelector',
    ],
    ['peerIP', object('BGPPeer', { peerIP: '10.0.0.1:70000' }), 'spec.peerIP: "10.0.0.1:70000" is not'],
    [
      'mesh per node',
      object('BGPConfiguration', { nodeToNodeMeshEnabled: false }, 'node.n1'),
      'spec.nodeToNodeMeshEnabled: is for the whole cluster',
    ],
    ['config name', object('BGPConfiguration', {}, 'other'), 'metadata.name: other is not; allowed: default'],
    [
      'community',
      object('BGPConfiguration', { communities: [{ name: 'a', value: '65536:1' }] }),
      'spec.communities[0].value: "65536:1" is not',
    ],
    [
      'unknown community',
      object('BGPConfiguration', { prefixAdvertisements: [{ cidr: '10.0.0.0/8', communities: ['b'] }] }),
      'spec.prefixAdvertisements[0].communities[0]: b is not',
    ],
    [
      'filter',
      object('BGPFilter', { exportV4: [{ cidr: '10.0.0.0/8', action: 'Accept' }] }),
      'spec.exportV4[0].matchOperator: cidr and matchOperator',
    ],
    [
      'filter family',
      object('BGPFilter', { exportV6: [{ cidr: '10.0.0.0/8', matchOperator: 'In', action: 'Accept' }] }),
      'spec.exportV6[0].cidr: "10.0.0.0/8" is not; allowed: an IPv6',
    ],
    [
      'ipam',
      object('IPAMConfiguration', { maxBlocksPerHost: 3 }),
      'spec.maxBlocksPerHost: 3 needs strictAffinity true',
    ],
    ['felix slip', object('FelixConfiguration', { ipipMtu: 1400 }), 'spec.ipipMtu: is not known here'],
    [
      'wep name',
      object('WorkloadEndpoint', { node: 'n-1', orchestrator: 'k8s', pod: 'p', endpoint: 'eth0' }, 'x', {
        namespace: 'a',
      }),
      'metadata.name: x is not; allowed: n--1-k8s-p-eth0',
    ],
    [
      'labels',
      object('Node', {}, 'n', { labels: { a: 1 } }),
      'metadata.labels: an object is not; allowed: an object of texts',
    ],
    ['a list', [], 'allowed: an object with kind'],
  ])('%s', (_, value, message) => {
    const found = problems(value);
    expect(found.join('\n')).toContain(message);
    expect(found).toHaveLength(1);
  });

  test('defaults, and what is stored, are Calico’s', () => {
    const given = object('IPPool', { natOutgoing: true, cidr: '10.233.0.0/16', ipipMode: 'Always' }, 'p', {
      uid: 'u',
      creationTimestamp: '2026-01-02T03:04:05Z',
      resourceVersion: '7',
      labels: { b: '1', a: '2' },
    });
    const parsed = parseGiven(given);
    if (!parsed.ok || parsed.value.kind !== 'IPPool') throw new Error('refused');
    expect(parsed.value.spec).toMatchObject({
      blockSize: 26,
      vxlanMode: 'Never',
      disabled: false,
      allowedUses: ['Workload', 'Tunnel'],
    });
    expect(encodeStored(parsed.value)).toBe(
      '{"kind":"IPPool","apiVersion":"projectcalico.org/v3","metadata":{"name":"p","uid":"u",' +
        '"creationTimestamp":"2026-01-02T03:04:05Z","labels":{"a":"2","b":"1"}},"spec":{"cidr":"10.233.0.0/16",' +
        '"vxlanMode":"Never","ipipMode":"Always","natOutgoing":true,"blockSize":26,"nodeSelector":"all()",' +
        '"allowedUses":["Workload","Tunnel"],"assignmentMode":"Automatic"}}',
    );
  });

  test('values are stored in their stored form, explicit zeros stay', () => {
    const given = object('BGPConfiguration', {
      asNumber: '1.1',
      nodeToNodeMeshEnabled: false,
      nodeMeshMaxRestartTime: '120s',
      serviceClusterIPs: [],
      logSeverityScreen: '',
    });
    const parsed = parseGiven(given);
    if (!parsed.ok) throw new Error('refused');
    expect(encodeStored(parsed.value)).toBe(
      '{"kind":"BGPConfiguration","apiVersion":"projectcalico.org/v3","metadata":{"name":"default",' +
        '"creationTimestamp":null},"spec":{"nodeToNodeMeshEnabled":false,"asNumber":65537,"nodeMeshMaxRestartTime":"2m0s"}}',
    );
  });

  test('Felix’s other settings are kept and reported', () => {
    const parsed = parseGiven(object('FelixConfiguration', { bpfEnabled: true, ipipMTU: 1400 }));
    if (!parsed.ok) throw new Error('refused');
    expect(parsed.value.ignored).toEqual(['spec.bpfEnabled']);
    expect(encodeStored(parsed.value)).toContain('"spec":{"ipipMTU":1400,"bpfEnabled":true}');
  });
});

describe('what the store holds', () => {
  // as calicoctl writes them; the last one has fields of a newer Calico
  test.each([
    '{"kind":"IPPool","apiVersion":"projectcalico.org/v3","metadata":{"name":"default-ipv4-ippool","uid":"d7c0a0ab-7c0e-4bd6-8a9c-5a2ddc2b5a53","creationTimestamp":"2024-05-06T07:08:09Z"},"spec":{"cidr":"192.168.0.0/16","vxlanMode":"Never","ipipMode":"CrossSubnet","natOutgoing":true,"blockSize":26,"nodeSelector":"all()","allowedUses":["Workload","Tunnel"],"assignmentMode":"Automatic"}}',
    '{"kind":"BGPPeer","apiVersion":"projectcalico.org/v3","metadata":{"name":"rr","uid":"u","creationTimestamp":"2024-05-06T07:08:09Z"},"spec":{"nodeSelector":"!has(rr) \\u0026\\u0026 zone == \'a\'","peerIP":"[fc00::1]:1790","asNumber":65001,"maxRestartTime":"1m30s","numAllowedLocalASNumbers":0}}',
    '{"kind":"Node","apiVersion":"projectcalico.org/v3","metadata":{"name":"n1","uid":"u","creationTimestamp":null,"labels":{"1":"b","10":"a","9":"c"}},"spec":{"bgp":{"ipv4Address":"10.0.0.1/24","ipv4IPIPTunnelAddr":"10.233.0.1"},"orchRefs":[{"nodeName":"n1","orchestrator":"k8s"}]},"status":{}}',
    '{"kind":"IPPool","apiVersion":"projectcalico.org/v3","metadata":{"name":"p","creationTimestamp":null,"managedFields":[{"manager":"x"}]},"spec":{"cidr":"10.0.0.0/16","vxlanMode":"Never","ipipMode":"Never","blockSize":26,"nodeSelector":"all()","allowedUses":["Workload"],"assignmentMode":"Manual","futureField":{"a":[1,{}],"n":12345678901234567890}}}',
  ])('reads and writes back the same bytes: %s', (text) => {
    const parsed = parseStored(text, 5);
    if (!parsed.ok) throw new Error(parsed.error.map(describeProblem).join());
    expect(encodeStored(parsed.value)).toBe(text);
  });

  test('unknown fields are somebody else’s', () => {
    const parsed = parseStored(
      JSON.stringify(object('Node', { bgp: { future: 1, ipv4Address: '10.0.0.1/24' }, other: {} })),
      1,
    );
    if (!parsed.ok) throw new Error('refused');
    expect(parsed.value.ignored.toSorted()).toEqual(['spec.bgp.future', 'spec.other']);
    expect(parsed.value.raw['spec']).toEqual({ bgp: { future: 1, ipv4Address: '10.0.0.1/24' }, other: {} });
  });
});

describe('broken objects are set aside one by one', () => {
  const key = (name: string) => resourceKey('IPPool', name);
  const good = JSON.stringify(object('IPPool', { cidr: '10.0.0.0/16' }, 'good'));
  const put = (store: ResourceStore, name: string, value: string) =>
    store.apply({ type: 'put', kv: { key: key(name), value, modRevision: 3 } });

  test.each([
    '',
    'null',
    '[]',
    '"x"',
    '{"kind":',
    '{"__proto__":{"kind":"IPPool"}}',
    good.replace('"spec":{', '"spec":{"__proto__":{"x":1},'),
    good.replace('10.0.0.0/16', '10.0.0.0/99'),
    good.replace('"10.0.0.0/16"', '{"toString":1}'),
    good.replace('IPPool', 'Node'),
    good.replace('"good"', '"other"'),
    good.replace('{"cidr":"10.0.0.0/16"}', '[]'),
    good.replace('{"name":"good"}', '"good"'),
    good.replace('}}', `,"x":${'['.repeat(100_000)}${']'.repeat(100_000)}}}`),
    `{"kind":"IPPool","big":"${'x'.repeat(2_000_000)}"}`,
    '\u0000\uffff',
  ])('%#', (text) => {
    const store = new ResourceStore();
    put(store, 'good', text);
    put(store, 'fine', good.replace('"good"', '"fine"'));
    expect([...store.list('IPPool')].map((pool) => pool.name)).toEqual(['fine']);
    expect(store.broken).toHaveLength(1);
    expect(store.broken[0]).toMatchObject({ key: key('good'), kept: false });
    expect(({} as { x?: number }).x).toBeUndefined();
    put(store, 'good', good);
    expect(store.broken).toHaveLength(0);
    expect(store.get('IPPool', 'good')?.spec.blockSize).toBe(26);
    put(store, 'good', text);
    expect(store.get('IPPool', 'good')?.spec.cidr as string).toBe('10.0.0.0/16');
    expect(store.broken[0]?.kept).toBe(true);
    store.apply({ type: 'delete', key: key('good') });
    expect(store.broken).toHaveLength(0);
    expect(store.get('IPPool', 'good')).toBeUndefined();
  });

  test('every field of every kind survives any value', () => {
    const samples: [string, object][] = [
      [
        'IPPool',
        { cidr: '10.0.0.0/16', blockSize: 26, nodeSelector: 'all()', allowedUses: ['Workload'], ipipMode: 'Never' },
      ],
      [
        'BGPPeer',
        {
          peerIP: '10.0.0.1',
          filters: ['a'],
          password: { secretKeyRef: { name: 'a', key: 'b' } },
          maxRestartTime: '1s',
        },
      ],
      [
        'BGPConfiguration',
        {
          communities: [{ name: 'a', value: '1:1' }],
          prefixAdvertisements: [{ cidr: '10.0.0.0/8', communities: ['a'] }],
        },
      ],
      [
        'BGPFilter',
        {
          exportV4: [
            { cidr: '10.0.0.0/8', matchOperator: 'In', action: 'Accept', operations: [{ setPriority: { value: 3 } }] },
          ],
        },
      ],
      ['Node', { bgp: { ipv4Address: '10.0.0.1/24' }, addresses: [{ address: '10.0.0.1' }] }],
      ['IPReservation', { reservedCIDRs: ['10.0.0.1'] }],
      ['FelixConfiguration', { ipipMTU: 1, externalNodesList: ['10.0.0.1'] }],
    ];
    const hostile = [
      null,
      0,
      -1,
      1e300,
      '',
      'x'.repeat(5000),
      [],
      {},
      [[]],
      { __proto__: null },
      true,
      '\u202e',
      ['a', 1],
    ];
    for (const [kind, spec] of samples) {
      const walk = (at: Record<string, unknown>) => {
        for (const key of Object.keys(at)) {
          const before = at[key];
          for (const value of hostile) {
            at[key] = value;
            parseStored(JSON.stringify(object(kind, spec)), 1);
            parseGiven(object(kind, spec));
          }
          at[key] = before;
          if (typeof before === 'object') walk(before as Record<string, unknown>);
        }
      };
      walk(spec as Record<string, unknown>);
      expect(problems(object(kind, spec))).toEqual([]);
    }
  });
});

test('changes are told, in sync is told', () => {
  const store = new ResourceStore();
  const seen: string[] = [];
  using _ = store.onChange((event) =>
    seen.push(
      typeof event === 'string' ? event : `${event.kind} ${event.before?.name ?? '-'} ${event.after?.name ?? '-'}`,
    ),
  );
  const value = JSON.stringify(object('Node', {}, 'n1'));
  expect(store.inSync).toBe(false);
  store.apply({ type: 'put', kv: { key: resourceKey('Node', 'n1'), value, modRevision: 4 } });
  store.apply({
    type: 'put',
    kv: { key: '/calico/resources/v3/projectcalico.org/tiers/default', value: 'x', modRevision: 4 },
  });
  store.apply({ type: 'inSync', revision: 9 });
  store.apply({ type: 'delete', key: resourceKey('Node', 'n1') });
  expect(seen).toEqual(['Node - n1', 'inSync', 'Node n1 -']);
  expect([store.inSync, store.revision]).toEqual([true, 9]);
});

test('keys', () => {
  expect(resourceKey('WorkloadEndpoint', 'n-k8s-p-eth0', 'ns')).toBe(
    '/calico/resources/v3/projectcalico.org/workloadendpoints/ns/n-k8s-p-eth0',
  );
  expect(parseResourceKey('/calico/resources/v3/projectcalico.org/ippools/a')).toEqual({
    kind: 'IPPool',
    namespace: undefined,
    name: 'a',
  });
  expect(parseResourceKey('/calico/resources/v3/projectcalico.org/ippools/a/b')).toBeUndefined();
  expect(parseResourceKey('/calico/resources/v3/projectcalico.org/ippools/')).toBeUndefined();
  expect(['POOLS', 'ipp', 'bgpconfig', 'no', 'WEPS', 'nothing'].map(kindByName)).toEqual([
    'IPPool',
    'IPPool',
    'BGPConfiguration',
    'Node',
    'WorkloadEndpoint',
    undefined,
  ]);
});

test('JSON as Go writes it', () => {
  expect(goJson({ a: '<&>\u2028', '9': 1, '10': 2 })).toBe('{"10":2,"9":1,"a":"\\u003c\\u0026\\u003e\\u2028"}');
  const exact = parseJson('{"n":1700000000000000001,"f":1.5,"s":3}');
  expect(exact).toEqual({ ok: true, value: { n: 1700000000000000001n, f: 1.5, s: 3 } });
});

test('durations', () => {
  expect(['90s', '1m30s', '1h', '1.5s', '300ms', '0'].map(parseDuration)).toEqual([90, 90, 3600, 1.5, 0.3, 0]);
  expect(['', '5', 's', '-1s', '1 s', '1s1'].map(parseDuration)).toEqual(Array.from({ length: 6 }, () => undefined));
  expect([0, 90, 3600, 1.5, 0.3, 120].map(formatDuration)).toEqual(['0s', '1m30s', '1h0m0s', '1.5s', '300ms', '2m0s']);
});
