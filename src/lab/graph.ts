/** A scenario as a picture: text for Graphviz (dot) or Mermaid, with machines, segments, pods and what is told by BGP. Pure. */
import type { Machine, Topology } from './topology.ts';

export const graphFormats = ['mermaid', 'dot'] as const;
export type GraphFormat = (typeof graphFormats)[number];

interface Shape {
  readonly name: string;
  readonly kind: 'segment' | 'router' | 'host' | 'pod';
  readonly lines: readonly string[];
}

interface Edge {
  readonly from: string;
  readonly to: string;
  readonly label: string;
  /** Not a wire: a session. */
  readonly dashed: boolean;
}

export function graphOf(topology: Topology, format: GraphFormat): string {
  const { segments, machines, pods, announcers } = topology;
  const shapes: Shape[] = [
    ...segments.map(({ name, prefixes }): Shape => ({ name, kind: 'segment', lines: [name, ...prefixes] })),
    ...machines.map((machine): Shape => ({ name: machine.name, kind: machine.role, lines: describe(machine) })),
    ...pods.map(({ name, addresses }): Shape => ({ name, kind: 'pod', lines: [name, ...addresses] })),
  ];
  const wires = machines.flatMap(({ name, interfaces }) =>
    interfaces.map(({ name: device, segment, addresses }): Edge => {
      const label = [device, ...addresses.map(({ address }) => address)].join(' ');
      return { from: name, to: segment.name, label, dashed: false };
    }),
  );
  const attached = pods.map(({ name, host }): Edge => ({ from: host, to: name, label: '', dashed: false }));
  const told = announcers.flatMap(({ name, host, gateways }) =>
    gateways.map((gateway): Edge => ({ from: host, to: gateway, label: `BGP by ${name}`, dashed: true })),
  );
  return writers[format](topology, shapes, [...wires, ...attached, ...told]);
}

function describe({ name, agent, bgp, subnet, blocks, later }: Machine): string[] {
  const runs = agent ? ['godwit agent'] : bgp ? [`${bgp.program}${bgp.as > 0 ? `, AS ${bgp.as}` : ''}`] : [];
  const owns = subnet === undefined ? blocks : [subnet];
  return [later ? `${name} (later)` : name, ...runs, ...owns];
}

type Write = (topology: Topology, shapes: readonly Shape[], edges: readonly Edge[]) => string;

const writers: Readonly<Record<GraphFormat, Write>> = {
  mermaid(_topology, shapes, edges) {
    const frames = { segment: ['([', '])'], router: ['{{', '}}'], host: ['[', ']'], pod: ['(', ')'] } as const;
    const nodes = shapes.map(({ name, kind, lines }) => {
      const [open, close] = frames[kind];
      return `  ${identifier(name)}${open}"${lines.join('<br/>')}"${close}`;
    });
    const links = edges.map(({ from, to, label, dashed }) => {
      const arrow = dashed ? '-.->' : '---';
      return `  ${identifier(from)} ${arrow}${label === '' ? '' : `|"${label}"|`} ${identifier(to)}`;
    });
    return ['graph TD', ...nodes, ...links].join('\n');
  },
  dot({ name: title }, shapes, edges) {
    const frames = { segment: 'ellipse', router: 'hexagon', host: 'box', pod: 'oval' } as const;
    const nodes = shapes.map(
      ({ name, kind, lines }) => `  "${name}" [shape=${frames[kind]}, label="${lines.join(String.raw`\n`)}"];`,
    );
    const links = edges.map(({ from, to, label, dashed }) => {
      const style = dashed ? ', style=dashed' : '';
      return `  "${from}" -- "${to}" [label="${label}"${style}];`;
    });
    return [`graph "${title}" {`, ...nodes, ...links, '}'].join('\n');
  },
};

/** Some names are words of Mermaid (`end`), and hyphens are half its arrows. */
const identifier = (name: string): string => `n_${name.replaceAll('-', '_')}`;
