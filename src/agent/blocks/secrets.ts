/** Passwords that resources refer to by name and key: files `NAME/KEY` in one directory, as Kubernetes mounts secrets. */
import { readFileSync } from 'node:fs';
import type { SecretReference } from '../../calc/mod.ts';

/** RFC 2385's key is at most as long as Linux takes. */
const MAX_BYTES = 80;
/** Names come from the datastore: they must not lead out of the directory. */
const isPlain = (name: string): boolean => /^(?!\.{1,2}$)[A-Za-z0-9._-]{1,253}$/.test(name);

/** Reads when asked, so that a file that is changed or comes later counts at the next plan. */
export const secretsIn =
  (directory: string) =>
  ({ name, key }: SecretReference): string | undefined => {
    if (!isPlain(name) || !isPlain(key)) return undefined;
    try {
      const text = readFileSync(`${directory}/${name}/${key}`, 'utf8').replace(/\r?\n$/, '');
      return text === '' || Buffer.byteLength(text) > MAX_BYTES ? undefined : text;
    } catch {
      return undefined;
    }
  };
