/**
 * What this program does of its own accord in a cluster, one object named `default`. Without it, or without its parts,
 * every node behaves as Calico's resources alone say.
 */
import { z } from 'zod';
import * as f from '../fields.ts';
import { defineKind, godwitGroup } from '../kind.ts';
import type { Problem } from '../kind.ts';
import { allSelector } from '../selector/selector.ts';

const routeReflectors = f.section({
  mode: f.withDefault(f.choice('auto', 'off'), 'off'),
  /** How many; fewer while fewer nodes can be. */
  count: f.withDefault(f.integer(1, 16), 2),
  /** Key of the label that says which failures nodes share. */
  failureDomain: f.withDefault(
    f.text(317, /^([a-z0-9][-a-z0-9.]*\/)?[A-Za-z0-9][-A-Za-z0-9_.]*$/, 'the key of a label'),
    'topology.kubernetes.io/zone',
  ),
  /** More nodes than this have reflectors, clearly fewer a mesh. */
  threshold: f.withDefault(f.integer(1, 100_000), 100),
  /** Which nodes may be reflectors. */
  candidates: f.withDefault(f.selector(), allSelector),
  /** Nodes that take no part: they keep a session with every other, as nodes of Calico do. */
  exclude: f.optional(f.selector()),
  /** How long a reflector may be away before another takes its place. */
  holdDown: f.withDefault(f.duration(1, 3600), 30),
  /** How long nodes that do not get along with a new topology keep the old one waiting for them. */
  patience: f.withDefault(f.duration(1, 86_400), 300),
});
export type RouteReflectorSettings = z.output<typeof routeReflectors>;

const spec = f.section({ routeReflectors: f.optional(routeReflectors) });
export type ClusterConfigurationSpec = z.output<typeof spec>;

/** Automatic reflectors with nothing said about them. */
export const defaultRouteReflectors: RouteReflectorSettings = routeReflectors.parse({});

const check = (_spec: ClusterConfigurationSpec, name: string): Problem[] =>
  name === 'default' ? [] : [{ path: 'metadata.name', message: `${name} is not; allowed: default` }];

export const clusterConfiguration = defineKind<'ClusterConfiguration', ClusterConfigurationSpec>({
  kind: 'ClusterConfiguration',
  group: godwitGroup,
  plural: 'clusterconfigurations',
  shortNames: ['clusterconfig', 'clusterconfigs'],
  namespaced: false,
  spec,
  columns: [
    { heading: 'NAME', cell: (config) => config.name },
    { heading: 'ROUTEREFLECTORS', cell: ({ spec }) => spec.routeReflectors?.mode ?? 'off' },
    {
      heading: 'COUNT',
      cell: ({ spec }) => (spec.routeReflectors?.mode === 'auto' ? String(spec.routeReflectors.count) : '-'),
    },
    {
      heading: 'THRESHOLD',
      cell: ({ spec }) => (spec.routeReflectors?.mode === 'auto' ? String(spec.routeReflectors.threshold) : '-'),
    },
  ],
  check,
});
