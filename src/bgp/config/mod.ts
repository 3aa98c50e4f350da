/**
 * The configuration of a speaker: `types.ts` is what comes out, `schema.ts` and `neighbors.ts` what may be written,
 * `load.ts` reads YAML and words its errors, `diff.ts` says what a reload would do.
 */
export * from './diff.ts';
export * from './load.ts';
export { DEFAULT_CONTROL, parseNetwork } from './schema.ts';
export * from './types.ts';
