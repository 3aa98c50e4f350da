/** `godwit explain`: the kinds of resources, and what may stand in one. */
import type { Command } from 'commander';
import { GodwitError, printable } from '../base/mod.ts';
import { explainKind, groupOf, kindByName, kindNames, kinds } from '../model/mod.ts';
import type { Kind } from '../model/mod.ts';
import { show, table, withOutput } from './output.ts';
import type { OutputOptions } from './output.ts';

export function register(command: Command): void {
  withOutput(command.argument('[kind]', 'a kind, or a field of one: pool, pool.spec.blockSize')).action(
    async (given: string | undefined, options: OutputOptions) => {
      if (given === undefined) {
        const list = kindNames.map((kind) => ({ kind, ...summaryOf(kind) }));
        const rows = list.map(({ kind, apiVersion, namespaced, names }) => [
          ...[kind, apiVersion, namespaced ? 'yes' : 'no', names.join(', ')],
        ]);
        return show(options, list, () => table(['KIND', 'APIVERSION', 'NAMESPACED', 'ALSO'], rows));
      }
      await explain(given, options);
    },
  );
}

const summaryOf = (kind: Kind) => {
  const { namespaced, plural, shortNames } = kinds[kind];
  return { apiVersion: groupOf(kind).apiVersion, namespaced, names: [plural, ...shortNames] };
};

async function explain(given: string, options: OutputOptions): Promise<void> {
  const [name = '', ...steps] = given.split('.');
  const kind = kindByName(name);
  if (!kind) throw new GodwitError('input', `${printable(name)} is no kind`, { hint: 'godwit explain lists them.' });
  const path = ['spec', ...(steps[0] === 'spec' ? steps.slice(1) : steps)].join('.');
  const plain = (field: string) => `${field.replaceAll('[]', '')}.`;
  const fields = explainKind(kind).filter((field) => plain(field.path).startsWith(plain(path)));
  if (fields.length === 0)
    throw new GodwitError('input', `${kind} has no field ${printable(path)}`, {
      hint: `godwit explain ${name} lists them.`,
    });
  const summary = summaryOf(kind);
  await show(options, { kind, ...summary, fields }, () => {
    const rows = fields.map((field) => [
      ...[field.path, field.default ?? (field.required ? '(required)' : ''), field.allowed],
    ]);
    const facts = [
      ['kind', kind],
      ['apiVersion', summary.apiVersion],
      ['also', summary.names.join(', ')],
    ];
    return `${table([], facts)}\n\n${table(['FIELD', 'DEFAULT', 'ALLOWED'], rows)}`;
  });
}
