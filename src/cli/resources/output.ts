/** How resources are shown: as a table, narrow or wide, as YAML or JSON of the whole objects, or by name. */
import { Option } from 'commander';
import type { Command } from 'commander';
import { stringify } from 'yaml';
import { goJson, groupOf, kinds, storedJson } from '../../model/mod.ts';
import type { AnyResource, JsonObject, Kind, KindDefinition } from '../../model/mod.ts';
import { table } from '../output.ts';

export const resourceFormats = ['table', 'wide', 'yaml', 'json', 'name'] as const;
export type ResourceFormat = (typeof resourceFormats)[number];

export const withResourceOutput = (command: Command): Command =>
  command.addOption(new Option('-o, --output <format>', 'how to print').choices([...resourceFormats, 'ps']));

/** The object with its revision, which `replace` then insists on. */
export function shownJson(resource: AnyResource): JsonObject {
  const json = storedJson(resource);
  const metadata = { ...(json['metadata'] as JsonObject) };
  if (metadata['creationTimestamp'] === null) delete metadata['creationTimestamp'];
  if (resource.revision > 0) metadata['resourceVersion'] = String(resource.revision);
  return { ...json, metadata };
}

export const nameOf = (resource: AnyResource): string => `${resource.kind.toLowerCase()}/${resource.name}`;

export interface Listing {
  readonly resources: readonly AnyResource[];
  /** One object that was asked for by name is shown as such, anything else as a list. */
  readonly single: boolean;
  readonly kind?: Kind;
  readonly revision?: number;
}

export function render(format: ResourceFormat, listing: Listing): string {
  const { resources } = listing;
  if (format === 'name') return resources.map(nameOf).join('\n');
  if (format === 'table' || format === 'wide') return renderTables(resources, format);
  const value = listing.single && resources.length === 1 ? shownJson(resources[0]!) : listJson(listing);
  // through text, so that no bigint or odd prototype meets a printer
  const plain: unknown = JSON.parse(goJson(value));
  return format === 'json' ? JSON.stringify(plain, undefined, 2) : stringify(plain, { lineWidth: 0 });
}

function listJson({ resources, kind, revision }: Listing): JsonObject {
  return {
    kind: kind === undefined ? 'List' : `${kind}List`,
    apiVersion: kind === undefined ? 'v1' : groupOf(kind).apiVersion,
    metadata: revision === undefined ? {} : { resourceVersion: String(revision) },
    items: resources.map(shownJson),
  };
}

function renderTables(resources: readonly AnyResource[], format: 'table' | 'wide'): string {
  const byKind = Map.groupBy(resources, (resource) => resource.kind);
  const parts: string[] = [];
  for (const [kind, list] of byKind) {
    const definition = kinds[kind] as unknown as KindDefinition<Kind, unknown>;
    const columns = (format === 'wide' ? definition.wide : undefined) ?? definition.columns;
    const headings = [...(definition.namespaced ? ['NAMESPACE'] : []), ...columns.map((column) => column.heading)];
    const rows = list.map((resource) => [
      ...(definition.namespaced ? [resource.namespace ?? ''] : []),
      ...columns.map((column) => column.cell(resource)),
    ]);
    parts.push(table(headings, rows));
  }
  return parts.join('\n\n');
}
