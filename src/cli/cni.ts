/** `godwit cni`: what a container runtime needs on a node. */
import type { Command } from 'commander';
import { GodwitError } from '../base/mod.ts';
import { DEFAULT_SOCKET, installExecutable } from '../cni/mod.ts';

export function register(command: Command): void {
  command
    .command('install')
    .description('Write the plugin, a small executable that asks the agent, to where a runtime looks for it.')
    .option('--bin-dir <dir>', 'directory of the runtime’s plugins', '/opt/cni/bin')
    .option('--name <name>', 'name of the plugin: `type` in the network’s configuration', 'godwit')
    .option('--socket <path>', 'the agent’s socket', DEFAULT_SOCKET)
    .option('--executable <path>', 'this program as the node sees it, where that is another path than here')
    .action((options: { binDir: string; name: string; socket: string; executable?: string }) => {
      const { binDir, name, socket, executable } = options;
      if (!/^[A-Za-z0-9][A-Za-z0-9_.-]*$/.test(name)) {
        throw new GodwitError('usage', `${name} cannot be the name of a plugin`, { hint: 'letters, digits, _ . -' });
      }
      for (const path of [socket, executable]) {
        if (path === undefined || path.startsWith('/')) continue;
        throw new GodwitError('usage', `${path} is not an absolute path`, {});
      }
      const path = `${binDir.replace(/\/+$/, '')}/${name}`;
      installExecutable(path, socket, executable === undefined ? undefined : [executable]);
      console.log(path);
    });
}
