// The executable. With CNI_COMMAND set it is the CNI plugin, where start-up time is everything: the thin client is
// imported alone. Otherwise it is the command line.
export {};

if (process.env['CNI_COMMAND'] !== undefined) {
  console.error('godwit: the CNI plugin is not built yet');
  process.exit(1);
} else {
  const { run } = await import('./cli/mod.ts');
  await run(process.argv.slice(2));
}
