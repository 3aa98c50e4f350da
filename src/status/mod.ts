/** What a node says of itself: snapshots, as JSON, for tools and people. */
export * from './node.ts';
export * from './published.ts';
