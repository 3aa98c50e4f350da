import { appendFileSync, existsSync } from 'node:fs';
import { join, resolve } from 'node:path';

const folder = process.env['GODWIT_TEST_DATA'] ?? resolve(import.meta.dir, '../../../shared/data');

/**
 * The path of a file of test data, which lie beside the checkout and not in it (GODWIT_TEST_DATA names another place);
 * undefined when it is not there, and the suite is to be skipped.
 */
export function testData(name: string): string | undefined {
  const path = join(folder, name);
  if (existsSync(path)) return path;
  const file = process.env['GODWIT_TEST_SKIPS'];
  if (file) appendFileSync(file, `replay of ${name} (missing: test data)\n`);
  return undefined;
}
