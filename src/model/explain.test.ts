import { expect, test } from 'bun:test';
import { explainKind } from './explain.ts';
import { kindNames } from './kinds.ts';

test('every field of every kind says what it allows', () => {
  for (const kind of kindNames) {
    const fields = explainKind(kind);
    expect([kind, fields.length > 0]).toEqual([kind, true]);
    for (const { path, allowed } of fields) expect([kind, path, allowed !== '']).toEqual([kind, path, true]);
    expect(new Set(fields.map(({ path }) => path)).size).toBe(fields.length);
  }
});

test('defaults as a person would write them, and what must be there', () => {
  const of = (kind: (typeof kindNames)[number], path: string) => explainKind(kind).find((field) => field.path === path);
  expect(of('IPPool', 'spec.cidr')).toMatchObject({ required: true });
  expect(of('IPPool', 'spec.nodeSelector')).toMatchObject({ default: 'all()', required: false });
  expect(of('IPPool', 'spec.allowedUses')?.default).toBe('Workload, Tunnel');
  expect(of('ClusterConfiguration', 'spec.routeReflectors.patience')?.default).toBe('5m0s');
  expect(of('BGPFilter', 'spec.importV4[].operations[].addCommunity.value')).toMatchObject({ required: true });
  expect(of('BGPPeer', 'spec.filters')?.allowed).toContain('a list of names of BGPFilters: each a name of');
});
