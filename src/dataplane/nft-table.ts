/** A table of ours in nf_tables, kept whole: what it takes to have it as it should be, or gone. */
import { formatOperation, formatTransaction, removeTable, replaceTable, tableDrift } from '../nft/mod.ts';
import type { Nftables, Table, TableName } from '../nft/mod.ts';
import { errno, isErrno } from '../sys/mod.ts';
import type { PlannedChange } from './part.ts';

/** Puts `want` in the place of whatever bears its name, where that is not the same. */
export function tableChanges(nft: () => Nftables, want: Table): PlannedChange[] {
  if (tableDrift(want, nft().read(want)) === undefined) return [];
  const transaction = replaceTable(want);
  return [{ text: formatTransaction(transaction), apply: () => nft().run(transaction) }];
}

/** Takes the table of that name away, if there is one. */
export function tableRemoval(nft: () => Nftables, name: TableName): PlannedChange[] {
  try {
    if (nft().read(name) === undefined) return [];
  } catch (error) {
    // a kernel without netfilter holds no table of ours
    if (isErrno(error, errno.EPROTONOSUPPORT, errno.EOPNOTSUPP, errno.EINVAL)) return [];
    throw error;
  }
  const transaction = removeTable(name);
  return [{ text: transaction.map(formatOperation).join('\n'), apply: () => nft().run(transaction) }];
}
