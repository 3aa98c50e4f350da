import { resolve } from 'node:path';

export const repositoryRoot = resolve(import.meta.dir, '../..');

/** Runs a development tool in the checkout with this terminal's output; gives its exit status. */
export async function runTool(command: string[], environment: Record<string, string> = {}): Promise<number> {
  const child = Bun.spawn(command, {
    cwd: repositoryRoot,
    env: { ...process.env, ...environment },
    stdio: ['ignore', 'inherit', 'inherit'],
  });
  return child.exited;
}
