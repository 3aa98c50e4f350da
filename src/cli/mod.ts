/** The commands. Each group lives in a file of its own and is loaded only when it is called. */
import { Argument, Command } from 'commander';
import manifest from '../../package.json' with { type: 'json' };
import type { Shell } from './completion.ts';
import { print, tellError } from './output.ts';

interface Group {
  readonly description: string;
  /** Imports the file of the group; its `register` adds options, subcommands and actions to the command given. */
  load(): Promise<{ register(command: Command): void }>;
}

const resources = () => import('./resources.ts');
const groups: Readonly<Record<string, Group>> = {
  lab: {
    description: 'Clusters in network namespaces of this machine: bring up, check, look around, take down.',
    load: () => import('./lab.ts'),
  },
  agent: { description: 'The node agent.', load: () => import('./agent.ts') },
  cni: { description: 'The CNI plugin of a node.', load: () => import('./cni.ts') },
  bgp: { description: 'The BGP speaker, alone or talked to.', load: () => import('./bgp.ts') },
  gateway: {
    description: 'The announcer that tells gateways who owns which prefix.',
    load: () => import('./gateway.ts'),
  },
  store: { description: 'The embedded datastore.', load: () => import('./store.ts') },
  get: { description: 'Show resources: pools, nodes, peers …', load: resources },
  create: { description: 'Make resources from files.', load: resources },
  apply: { description: 'Make or change resources from files.', load: resources },
  replace: { description: 'Change resources that exist.', load: resources },
  patch: { description: 'Change fields of a resource.', load: resources },
  delete: { description: 'Delete resources.', load: resources },
  validate: { description: 'Judge files of resources; no datastore is needed.', load: resources },
  explain: { description: 'Kinds of resources, and what may stand in one.', load: () => import('./explain.ts') },
  reflectors: {
    description: 'Automatic route reflectors: the plan, and how each node stands.',
    load: () => import('./reflectors.ts'),
  },
  migrate: {
    description: 'From subnet leases to blocks, node by node, and back.',
    load: () => import('./migrate.ts'),
  },
  ipam: { description: 'Addresses: who has which, what leaks, and the rules.', load: () => import('./ipam.ts') },
  node: { description: 'This node: its address, its agent’s status and routes.', load: () => import('./node.ts') },
};

/** Wrong usage, as opposed to something that failed (1). */
const USAGE = 2;

export async function run(args: readonly string[]): Promise<void> {
  const program = new Command('godwit')
    .description('A pure layer-3 container network: every node is a router.')
    .version(manifest.version, '-V, --version', 'print the version')
    // what stands after a command is the command's: `lab exec pod1 -- ping -c1 …`
    .enablePositionalOptions()
    .showHelpAfterError('(add --help for what is possible)')
    .configureOutput({ outputError: (text, write) => write(text.replace(/^error:/, 'godwit:')) })
    .exitOverride((error) => process.exit(error.exitCode === 0 ? 0 : USAGE));
  program
    .command('version')
    .description('Print the version.')
    .action(() => print(manifest.version));
  await addGroups(program, (name) => args.includes(name));
  program
    .command('completion')
    .description('What a shell needs to complete commands: source <(godwit completion bash)')
    .addArgument(new Argument('<shell>').choices(['bash', 'zsh'] satisfies Shell[]))
    .action(async (shell: Shell) => {
      const whole = new Command('godwit');
      await addGroups(whole, () => true);
      for (const name of ['completion', 'version']) whole.command(name);
      const { completionScript } = await import('./completion.ts');
      await print(completionScript(whole, shell));
    });
  try {
    await program.parseAsync([...args], { from: 'user' });
  } catch (error) {
    fail(error);
  }
}

/** Every group's command; what belongs to it only where `wanted`. */
async function addGroups(program: Command, wanted: (name: string) => boolean): Promise<void> {
  for (const [name, group] of Object.entries(groups)) {
    const command = program.command(name).description(group.description);
    if (wanted(name)) (await group.load()).register(command);
  }
}

function fail(error: unknown): never {
  // the reader of a pipe went away: `godwit lab routes | head -1`
  if (error instanceof Error && 'code' in error && error.code === 'EPIPE') process.exit(0);
  tellError(error);
  process.exit(1);
}
