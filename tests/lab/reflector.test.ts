// Twenty nodes and two reflectors, one of which is killed.
import { afterAll, describe, expect, test } from 'bun:test';
import { runCalico } from '../support/calico-lab.ts';
import { TestLabs } from '../support/lab.ts';
import { have } from '../support/peers.ts';

describe.skipIf(!have('lab route-reflector', 'ip'))('route reflectors', () => {
  const labs = new TestLabs();
  afterAll(() => labs[Symbol.asyncDispose]());

  test('route-reflector: twenty nodes, and a reflector killed without a packet lost', async () => {
    const report = await runCalico(labs, 'rr', 'route-reflector');
    expect(report.nodes).toHaveLength(22);
    const node1 = report.nodes.find(({ name }) => name === 'node1')!.routes.map(({ line }) => line);
    for (let n = 2; n <= 20; n++) expect(node1).toContain(`10.233.${n}.0/26 via 192.168.1.${n} dev eth0 proto 71`);
    expect(report.reachability).toMatchObject({ passed: 1722, total: 1722 });
    expect(report.drill.steps.map(({ step }) => step)).toEqual(['kill rr1', 'start rr1', 'restart rr2']);
    expect(report.drill.lost).toBe(0);
  }, 110_000);
});
