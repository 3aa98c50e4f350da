/** `godwit lab …`: the commands around `src/lab`. Progress goes to stderr, results to stdout. */
import { constants } from 'node:os';
import { Option } from 'commander';
import type { Command } from 'commander';
import { GodwitError, messageOf } from '../base/mod.ts';
import {
  bringUp,
  bundledScenarios,
  checkWithin,
  environmentIn,
  findLab,
  followLog,
  graphFormats,
  graphOf,
  HOLD_COMMAND,
  isRealRoot,
  holdSandbox,
  LabLayout,
  listLabs,
  loadScenario,
  logOf,
  namespaceIn,
  observe,
  readScenario,
  runDrill,
  runIn,
  statusOf,
  summarizeLabs,
  takeDown,
} from '../lab/mod.ts';
import type { GraphFormat, LoadedScenario } from '../lab/mod.ts';
import { inside, inWords, progress, stopSignals } from './lab-command.ts';
import { registerLive } from './lab-live.ts';
import { viewDrill, viewLabs, viewReport, viewStatus } from './lab-view.ts';
import { integerBetween, outputFormat, painter, print, say, show, table, tellError, withOutput } from './output.ts';
import type { OutputOptions } from './output.ts';

/** IPIP may need a program in the kernel, which only real root may load. */
const DEFAULT_SCENARIO = isRealRoot() ? 'calico-ipip' : 'calico-vxlan';

/** All programs were ready when the lab came up, but what they tell each other may still be on its way. */
const SETTLE_MS = 20_000;

/** How this program is called from where the user is: from a checkout through npx. */
const program = Bun.main.startsWith('/$bunfs/') ? 'godwit' : 'npx godwit';

export function register(lab: Command): void {
  lab.enablePositionalOptions();
  lab.addHelpText(
    'after',
    `
Nodes, switches, routers and pods are network namespaces of this machine (\`ip netns\` shows them); each host runs the
real agent, and pods are attached by the real CNI plugin. As root, or without root where the kernel lets users make
namespaces.

Examples:
  ${program} lab run                            Calico's network: up, checked, shown; Ctrl-C takes it down
  ${program} lab run host-gw --check --json     the same as a test: one JSON document, exit status 0 or 1
  ${program} lab up my-lab.yaml --detach        a scenario of your own (docs/lab.md), left running
  ${program} lab exec pod1 -- ping 10.244.1.2   run something inside a pod or host
  ${program} lab down                           take it down, whatever state it is in`,
  );

  withOutput(lab.command('run').argument('[scenario]', 'name or YAML file', DEFAULT_SCENARIO))
    .description('bring a scenario up, check it, show it, and hold it until Ctrl-C')
    .option('-n, --name <name>', 'name of the lab (default: the scenario’s)')
    .option('--check', 'take it down after the check; exit status 1 if anything is wrong')
    .action(inside(run));

  lab
    .command('up')
    .argument('<scenario>', 'name or YAML file')
    .description('bring a scenario up')
    .option('-n, --name <name>', 'name of the lab (default: the scenario’s)')
    .option('-d, --detach', 'leave it running and return')
    .action(inside(up));

  withOutput(lab.command('check').argument('[lab]', 'name of the lab; not needed when one is up'))
    .description('check a running lab: routes, pods, who reaches whom')
    .option('-w, --wait <seconds>', 'check again until it is all right, this long', integerBetween(0, 3600), 0)
    .action(inside(check));

  withOutput(lab.command('routes').argument('[host]', 'host, router or pod; without it, all hosts and routers'))
    .description('show routing tables as they are in the kernel')
    .option('-l, --lab <lab>', 'name of the lab; not needed when one is up')
    .action(inside(routes));

  lab
    .command('exec')
    .argument('<node>', 'host, router or pod')
    .argument('<command...>', 'after "--", so that its options stay its own')
    .description('run a command inside; its exit status is passed on')
    .option('-l, --lab <lab>', 'name of the lab; not needed when one is up')
    .passThroughOptions()
    .action(inside(exec));

  lab
    .command('logs')
    .argument('<program>', 'an agent or a routing program by its machine, an announcer, or "datastore"')
    .description('show what a program wrote')
    .option('-l, --lab <lab>', 'name of the lab; not needed when one is up')
    .option('-n, --lines <n>', 'no more than the last lines', integerBetween(1, 1_000_000))
    .option('-f, --follow', 'go on as it grows')
    .action(inside(logs));

  lab
    .command('down')
    .argument('[lab]', 'name of the lab; not needed when one is up')
    .description('take a lab down, whatever state it is in')
    .option('-a, --all', 'all labs')
    .option('--now', 'do not wait for programs to end by themselves')
    .action(inside(down));

  registerLive(lab);

  withOutput(lab.command('list').alias('ls')).description('show the labs that are there').action(inside(list));

  withOutput(lab.command('status').alias('inspect').argument('[lab]', 'name of the lab; not needed when one is up'))
    .description('show its programs: what runs, with which process, memory and processor time')
    .action(inside(status));

  withOutput(lab.command('scenarios').argument('[name]', 'print the file of this one, to start your own from'))
    .description('show the scenarios that come with the program')
    .action(scenarios);

  lab
    .command('graph')
    .argument('[scenario]', 'name or YAML file; without it the lab that is up')
    .description('print a picture of it, as text for Mermaid or Graphviz')
    .addOption(new Option('-f, --format <format>', 'of the text').choices(graphFormats).default('mermaid'))
    .option('-l, --lab <lab>', 'name of the lab, when several are up')
    .action(graph);

  lab.command(HOLD_COMMAND, { hidden: true }).argument('<directory>').action(holdSandbox);
}

const untilAborted = (signal: AbortSignal): Promise<void> =>
  new Promise((resolve) => {
    if (signal.aborted) {
      resolve();
      return;
    }
    const hold = setInterval(() => {}, 1 << 30);
    signal.addEventListener('abort', () => {
      clearInterval(hold);
      resolve();
    });
  });

function load(nameOrFile: string): LoadedScenario {
  const scenario = loadScenario(nameOrFile);
  if (!scenario.ok) throw scenario.error;
  return scenario.value;
}

interface RunOptions extends OutputOptions {
  readonly name?: string;
  readonly check?: boolean;
}

async function run(nameOrFile: string, options: RunOptions): Promise<number> {
  try {
    return await runScenario(nameOrFile, options);
  } catch (thrown) {
    const error = inWords(thrown);
    // whoever asked for a document gets one, also about a failure
    if (outputFormat(options) === 'table') throw error;
    const { kind, hint } = error instanceof GodwitError ? error : { kind: 'internal', hint: '' };
    await show(options, { ok: false, error: { kind, message: messageOf(error), hint } }, () => '');
    tellError(error);
    return 1;
  }
}

async function runScenario(nameOrFile: string, options: RunOptions): Promise<number> {
  const scenario = load(nameOrFile);
  const layout = new LabLayout(options.name ?? scenario.topology.name);
  const tell = progress();
  const { stop, force } = stopSignals(tell);
  tell(`${layout.name}: ${scenario.topology.description || scenario.source}`);
  const start = performance.now();
  await bringUp(layout, scenario, { tell, signal: stop, force, hold: true });
  const upSeconds = Math.round((performance.now() - start) / 10) / 100;
  try {
    tell('checking routes, pods and who reaches whom');
    const checked = await checkWithin(() => findLab(layout.name), SETTLE_MS, stop);
    const drills = options.check === true && checked.ok && scenario.topology.drill.length > 0;
    const drill = drills ? await runDrill(layout, { tell, signal: stop }) : undefined;
    const report = { ...checked, ...(drill && { ok: drill.ok, drill }), upSeconds };
    await show(
      options,
      report,
      () => `\n${viewReport(checked)}\nup in ${upSeconds.toFixed(2)} s${drill ? `\n\n${viewDrill(drill)}` : ''}`,
    );
    if (options.check !== true && !stop.aborted) {
      say(`\n${invitation(layout.name, scenario)}`);
      await untilAborted(stop);
    }
    return report.ok ? 0 : 1;
  } finally {
    if (!stop.aborted) tell('taking the lab down');
    await takeDown(layout, { force, tell });
    tell('down');
  }
}

/** What to try, with names of this lab. */
function invitation(name: string, { topology }: LoadedScenario): string {
  const inside = topology.pods[0]?.name ?? topology.machines[0]?.name ?? 'NODE';
  const rows = [
    [`  ${program} lab exec ${inside} -- sh`, `a shell inside ${inside}`],
    [`  ${program} lab routes`, 'every routing table as it is now'],
    [`  ${program} lab check ${name}`, 'all of the above once more'],
    ...(topology.drill.length > 0
      ? [[`  ${program} lab drill ${name}`, 'what the scenario practises, under traffic']]
      : []),
  ];
  return `The lab is up until you press Ctrl-C. From another terminal:\n${table([], rows)}`;
}

async function up(nameOrFile: string, options: { name?: string; detach?: boolean }): Promise<number> {
  const scenario = load(nameOrFile);
  const layout = new LabLayout(options.name ?? scenario.topology.name);
  const tell = progress();
  const { stop, force } = stopSignals(tell);
  const hold = options.detach !== true;
  await bringUp(layout, scenario, { tell, signal: stop, force, hold });
  if (!hold) {
    say(`${layout.name} is up; take it down with: ${program} lab down ${layout.name}`);
    return 0;
  }
  say(`\n${invitation(layout.name, scenario)}`);
  await untilAborted(stop);
  await takeDown(layout, { force, tell });
  tell('down');
  return 0;
}

async function check(name: string | undefined, options: OutputOptions & { wait: number }): Promise<number> {
  const report = await checkWithin(() => findLab(name), options.wait * 1000);
  await show(options, report, () => viewReport(report));
  return report.ok ? 0 : 1;
}

async function routes(host: string | undefined, options: OutputOptions & { lab?: string }): Promise<number> {
  const lab = findLab(options.lab);
  const names = host === undefined ? lab.topology.machines.map(({ name }) => name) : [host];
  const tables = names.map((name) => {
    const { routes: seen } = observe(name, namespaceIn(lab, name));
    return { node: name, routes: seen.map(({ line }) => line) };
  });
  await show(options, host === undefined ? tables : tables[0], () => {
    const indent = tables.length > 1 ? '  ' : '';
    const paint = painter();
    return tables
      .flatMap(({ node, routes: lines }) => [
        ...(tables.length > 1 ? [paint('bold', node)] : []),
        ...lines.map((line) => indent + line),
      ])
      .join('\n');
  });
  return 0;
}

async function exec(node: string, words: string[], options: { lab?: string }): Promise<number> {
  const command = words[0] === '--' ? words.slice(1) : words;
  // the terminal's signals are for the command; this process waits for what it makes of them
  for (const signal of ['SIGINT', 'SIGQUIT'] as const) process.on(signal, () => {});
  const lab = findLab(options.lab);
  const child = runIn(namespaceIn(lab, node), command, environmentIn(lab, node));
  for (const signal of ['SIGTERM', 'SIGHUP'] as const) process.on(signal, () => child.kill(signal));
  await child.exited;
  const signal = child.signalCode;
  return signal === null ? (child.exitCode ?? 1) : 128 + (constants.signals[signal as NodeJS.Signals] ?? 0);
}

async function logs(host: string, options: { lab?: string; lines?: number; follow?: boolean }): Promise<number> {
  const path = logOf(findLab(options.lab), host);
  await followLog(path, {
    lines: options.lines,
    follow: options.follow === true,
    write: (text) => Bun.write(Bun.stdout, text),
  });
  return 0;
}

async function down(name: string | undefined, options: { all?: boolean; now?: boolean }): Promise<number> {
  const names = options.all === true ? listLabs() : [name ?? onlyLab()];
  const { force } = stopSignals(() => say('going on; once more: without waiting'));
  let failed = 0;
  for (const lab of names) {
    const grace = options.now === true ? { graceMs: 0 } : {};
    try {
      await takeDown(new LabLayout(lab), { force, ...grace, tell: (line) => say(line) });
      say(`${lab} is down`);
    } catch (error) {
      if (names.length === 1) throw error;
      tellError(error);
      failed++;
    }
  }
  if (names.length === 0) say('no lab is up');
  return failed === 0 ? 0 : 1;
}

/** A lab need not be readable to be taken down. */
function onlyLab(): string {
  const labs = listLabs();
  return labs.length === 1 ? labs[0]! : findLab().layout.name;
}

async function list(options: OutputOptions): Promise<number> {
  const labs = summarizeLabs();
  await show(options, labs, () => viewLabs(labs));
  return 0;
}

async function status(name: string | undefined, options: OutputOptions): Promise<number> {
  const report = statusOf(findLab(name));
  await show(options, report, () => viewStatus(report));
  return 0;
}

/** A file needs no lab, and so no rights; of a lab that is up it shows what is there now. */
async function graph(nameOrFile: string | undefined, options: { format: GraphFormat; lab?: string }): Promise<void> {
  if (nameOrFile !== undefined) return print(graphOf(load(nameOrFile).topology, options.format));
  await inside(async () => {
    await print(graphOf(findLab(options.lab).topology, options.format));
    return 0;
  })();
}

async function scenarios(name: string | undefined, options: OutputOptions): Promise<void> {
  if (name !== undefined) return print(load(name).text);
  const all = Object.entries(bundledScenarios).map(([scenario, text]) => {
    const topology = readScenario(scenario, text);
    return { name: scenario, description: topology.ok ? topology.value.description : '' };
  });
  await show(options, all, () =>
    table(
      ['SCENARIO', 'DESCRIPTION'],
      all.map((s) => [s.name, s.description]),
    ),
  );
}
