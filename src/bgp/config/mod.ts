/**
 * The configuration of a speaker: `types.ts` is what it takes, `diff.ts` says what a reload would do, `yaml/` reads it from
 * a file.
 */
export * from './diff.ts';
export * from './types.ts';
