/** A change of nf_tables as a value: it can be shown in nft's syntax (`nft -f` takes it), and run whole or not at all. */
import { unreachable } from '../base/mod.ts';
import { formatBase, formatRule, tableComment } from './table.ts';
import type { Chain, Rule, Table, TableName } from './table.ts';

export type Operation =
  | { readonly op: 'addTable'; readonly table: TableName; readonly comment?: string }
  | { readonly op: 'deleteTable'; readonly table: TableName }
  | { readonly op: 'addChain'; readonly table: TableName; readonly chain: Pick<Chain, 'name' | 'base'> }
  | { readonly op: 'addRule'; readonly table: TableName; readonly chain: string; readonly rule: Rule };

export type Transaction = readonly Operation[];

/** Deletes the table whether or not it is there: adding what exists is no error, deleting what does not would be. */
export function removeTable({ family, name }: TableName): Transaction {
  const table = { family, name };
  return [
    { op: 'addTable', table },
    { op: 'deleteTable', table },
  ];
}

/** Puts `table` in the place of whatever bears its name. Packets see the old rules or the new ones, nothing between. */
export function replaceTable(table: Table): Transaction {
  const name: TableName = { family: table.family, name: table.name };
  return [
    ...removeTable(name),
    { op: 'addTable', table: name, comment: tableComment(table) },
    ...table.chains.map((chain): Operation => ({ op: 'addChain', table: name, chain })),
    ...table.chains.flatMap((chain) =>
      chain.rules.map((rule): Operation => ({ op: 'addRule', table: name, chain: chain.name, rule })),
    ),
  ];
}

/** One line an operation. */
export function formatOperation(operation: Operation): string {
  const { family, name } = operation.table;
  switch (operation.op) {
    case 'addTable':
      return `add table ${family} ${name}${operation.comment === undefined ? '' : ` { comment "${operation.comment}"; }`}`;
    case 'deleteTable':
      return `delete table ${family} ${name}`;
    case 'addChain': {
      const base = operation.chain.base ? ` { ${formatBase(operation.chain.base)} }` : '';
      return `add chain ${family} ${name} ${operation.chain.name}${base}`;
    }
    case 'addRule':
      return `add rule ${family} ${name} ${operation.chain} ${formatRule(operation.rule)}`;
    default:
      return unreachable(operation);
  }
}

export const formatTransaction = (transaction: Transaction): string => transaction.map(formatOperation).join('\n');
