/** The commands. Each group lives in a file of its own and is loaded only when it is called. */
import { Command } from 'commander';

export async function run(args: readonly string[]): Promise<void> {
  const program = new Command('godwit')
    .description('A pure layer-3 container network: every node is a router.')
    .showHelpAfterError();
  await program.parseAsync([...args], { from: 'user' });
}
