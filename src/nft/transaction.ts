/** A change of nf_tables as a value: it can be shown in nft's syntax (`nft -f` takes it), and run whole or not at all. */
import { unreachable } from '../base/mod.ts';
import { formatBase, formatRule, formatSetType, tableComment } from './table.ts';
import type { AddressSet, Chain, Rule, Table, TableName } from './table.ts';

export type Operation =
  | { readonly op: 'addTable'; readonly table: TableName; readonly comment?: string }
  | { readonly op: 'deleteTable'; readonly table: TableName }
  | {
      readonly op: 'addSet';
      readonly table: TableName;
      readonly set: AddressSet;
      /** Its number in the transaction. */ readonly id: number;
    }
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
    ...(table.sets ?? []).map((set, id): Operation => ({ op: 'addSet', table: name, set, id })),
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
    case 'addSet': {
      const { set } = operation;
      const elements = set.addresses.length > 0 ? ` elements = { ${set.addresses.join(', ')} }` : '';
      return `add set ${family} ${name} ${set.name} { ${formatSetType(set)}${elements} }`;
    }
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
