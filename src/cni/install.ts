/** Puts the small executable, which a runtime starts for every pod, in its place. */
import { installPlugin } from '../shim/mod.ts';
import { selfCommand } from '../sys/mod.ts';
import { CniError, codes, formatError } from './error.ts';
import { latestVersion } from './versions.ts';

/**
 * Writes the plugin to `path`. It asks the agent on `socket`, and becomes `complete` (a command; this program when absent)
 * when it cannot go on alone. Throws what the file system says, and for a socket with too long a name.
 */
export function installExecutable(path: string, socket: string, complete: readonly string[] = selfCommand()): void {
  const words = new CniError(
    codes.tryAgain,
    'the godwit agent is not reachable',
    `nothing answers on ${socket}, and ${complete[0]} cannot be started`,
  );
  installPlugin(path, { socket, complete, lastWords: formatError(latestVersion, words) });
}
