import { appendFileSync, existsSync } from 'node:fs';

/**
 * Whether a suite's peers are here. When one is missing the suite is to be skipped (`describe.skipIf(!have(...))`), and
 * the test command names it at the end.
 */
export function have(suite: string, ...programs: string[]): boolean {
  const missing = programs.filter((program) => !Bun.which(program) && !existsSync(program));
  if (process.getuid?.() !== 0) missing.push('root');
  if (missing.length === 0) return true;
  const file = process.env['GODWIT_TEST_SKIPS'];
  if (file) appendFileSync(file, `${suite} (missing: ${missing.join(', ')})\n`);
  return false;
}
