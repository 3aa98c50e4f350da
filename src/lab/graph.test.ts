import { expect, test } from 'bun:test';
import { bundledScenarios } from './bundled.ts';
import { graphFormats, graphOf } from './graph.ts';
import { readScenario } from './read.ts';

const topologyOf = (name: string) => {
  const read = readScenario(name, bundledScenarios[name]!);
  if (!read.ok) throw read.error;
  return read.value;
};

test('Mermaid: machines with what they run and own, wires with addresses, pods', () => {
  const lines = graphOf(topologyOf('calico-ipv6'), 'mermaid').split('\n');
  expect(lines[0]).toBe('graph TD');
  expect(lines).toContain('  n_lan(["lan<br/>fd00:192:168:1::/64"])');
  expect(lines).toContain('  n_node1["node1<br/>godwit agent<br/>fd00:10:233:1::/122"]');
  expect(lines).toContain('  n_node1 ---|"eth0 fd00:192:168:1::2"| n_lan');
  expect(lines).toContain('  n_node2 --- n_pod3');
});

test('dot: routers, and who is told what by BGP', () => {
  const lines = graphOf(topologyOf('gateway-announcer'), 'dot').split('\n');
  expect(lines[0]).toBe('graph "gateway-announcer" {');
  expect(lines.at(-1)).toBe('}');
  expect(lines.filter((line) => line.includes('style=dashed')).length).toBeGreaterThan(1);
  expect(lines.some((line) => line.includes('[shape=hexagon, label='))).toBe(true);
});

test.each(Object.keys(bundledScenarios))('%s: everything in it is drawn once', (name) => {
  const topology = topologyOf(name);
  const count = topology.segments.length + topology.machines.length + topology.pods.length;
  for (const format of graphFormats) {
    const shapes = graphOf(topology, format)
      .split('\n')
      .filter((line) => /^ {2}n_\S+?(\(|\[|\{)/.test(line) || line.includes('[shape='));
    expect(shapes).toHaveLength(count);
  }
});
