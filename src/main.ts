// The executable. With CNI_COMMAND set it is the CNI plugin, where start-up time is everything: the thin client alone is
// loaded. Otherwise it is the command line, which is a chunk of its own in the built executable.
import { runPlugin } from './cni/client.ts';

if (process.env['CNI_COMMAND'] !== undefined) {
  runPlugin();
} else {
  const { run } = await import('./cli/mod.ts');
  await run(process.argv.slice(2));
}
