/** nf_tables in memory, for tests: runs transactions whole or not at all, and refuses on demand. */
import { errno, KernelError } from '../sys/mod.ts';
import type { ForeignChain, Nftables } from './nftables.ts';
import { ruleComment } from './table.ts';
import { compareAddresses } from '../net/mod.ts';
import type { IpAddress } from '../net/mod.ts';
import type { BaseChain, TableName, TableState } from './table.ts';
import { formatOperation } from './transaction.ts';
import type { Operation, Transaction } from './transaction.ts';

interface FakeTable extends TableName {
  readonly comment: string;
  readonly sets: Map<string, IpAddress[]>;
  readonly chains: Map<string, { base: BaseChain | undefined; rules: string[] }>;
}

const key = ({ family, name }: TableName): string => `${family} ${name}`;

export class FakeNftables implements Nftables {
  tables = new Map<string, FakeTable>();
  /** Transactions that ran. */
  readonly log: Transaction[] = [];
  foreign: ForeignChain[] = [];
  /** Gives an errno for an operation that shall be refused. */
  refuse: (operation: Operation) => number | undefined = () => undefined;
  private readonly listeners = new Set<() => void>();

  read(name: TableName): TableState | undefined {
    const table = this.tables.get(key(name));
    if (!table) return undefined;
    const chains = [...table.chains].map(([chain, { base, rules }]) => {
      return { name: chain, ...(base === undefined ? {} : { base }), rules: [...rules] };
    });
    const sets = [...table.sets].map(([set, addresses]) => ({
      name: set,
      addresses: addresses.toSorted(compareAddresses),
    }));
    return { family: table.family, name: table.name, comment: table.comment, sets, chains };
  }

  baseChains(): readonly ForeignChain[] {
    return this.foreign;
  }

  run(transaction: Transaction): void {
    const before = structuredClone(this.tables);
    for (const operation of transaction) {
      const number = this.refuse(operation) ?? this.apply(operation);
      if (number === undefined) continue;
      this.tables = before;
      throw new KernelError(formatOperation(operation), number);
    }
    this.log.push(transaction);
  }

  private apply(operation: Operation): number | undefined {
    const { family, name } = operation.table;
    const table = this.tables.get(key(operation.table));
    if (operation.op === 'addTable') {
      if (!table)
        this.tables.set(key(operation.table), {
          ...{ family, name, comment: operation.comment ?? '' },
          ...{ sets: new Map(), chains: new Map() },
        });
      return undefined;
    }
    if (!table) return errno.ENOENT;
    if (operation.op === 'deleteTable') this.tables.delete(key(operation.table));
    else if (operation.op === 'addSet') table.sets.set(operation.set.name, [...operation.set.addresses]);
    else if (operation.op === 'addChain')
      table.chains.set(operation.chain.name, { base: operation.chain.base, rules: [] });
    else {
      const chain = table.chains.get(operation.chain);
      if (!chain) return errno.ENOENT;
      chain.rules.push(ruleComment(operation.rule));
    }
    return undefined;
  }

  watch(changed: () => void): Disposable {
    this.listeners.add(changed);
    return { [Symbol.dispose]: () => void this.listeners.delete(changed) };
  }

  /** As `nft flush ruleset` does. */
  flush(): void {
    this.tables.clear();
    for (const listener of this.listeners) listener();
  }

  [Symbol.dispose](): void {
    this.listeners.clear();
  }
}
