/** nf_tables without the nft program: objects and transactions as values, the kernel and a fake behind one interface. */
export * from './fake.ts';
export * from './nftables.ts';
export * from './table.ts';
export * from './transaction.ts';
