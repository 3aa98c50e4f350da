/**
 * A speaker's configuration as YAML: `schema.ts` and `neighbors.ts` say what may be written, `load.ts` reads it and words
 * its errors. Apart from `config`, so that a program which makes the configuration itself keeps no YAML in its memory.
 */
export { section } from './fields.ts';
export * from './load.ts';
export { DEFAULT_CONTROL, parseNetwork } from './schema.ts';
