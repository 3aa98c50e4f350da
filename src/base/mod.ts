/** What every other folder stands on: bytes, time, results, errors, logs, and the delta of desired and actual. */
export * from './backoff.ts';
export * from './bytes.ts';
export * from './clock.ts';
export * from './compiler.ts';
export * from './delta.ts';
export * from './error.ts';
export * from './log.ts';
export * from './replace-file.ts';
export * from './result.ts';
export * from './text-map.ts';
export * from './wakeup.ts';
