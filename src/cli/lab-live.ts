/** `godwit lab kill|start|restart|add|remove|traffic|drill`: what is done to a lab that is up. */
import type { Command } from 'commander';
import { sleep } from '../base/mod.ts';
import { addHost, endsOf, findLab, killProgram, removeHost, restartProgram, runDrill } from '../lab/mod.ts';
import { startAgain, Traffic } from '../lab/mod.ts';
import type { LabLayout, LiveOptions } from '../lab/mod.ts';
import { inside, interruptible, progress } from './lab-command.ts';
import { viewDrill } from './lab-view.ts';
import { integerBetween, show, withOutput } from './output.ts';
import type { OutputOptions } from './output.ts';

interface LabOption {
  readonly lab?: string;
}
type Change = (layout: LabLayout, who: string, options: LiveOptions) => Promise<void>;

const changes: readonly (readonly [verb: string, change: Change, argument: string, description: string])[] = [
  ['kill', killProgram, 'program', 'kill a program (SIGKILL)'],
  ['start', startAgain, 'program', 'start a program that was killed, or ended'],
  ['restart', restartProgram, 'program', 'kill a program and start it again'],
  ['add', addHost, 'host', 'bring a host of the scenario that is not there, with its programs and pods'],
  ['remove', removeHost, 'host', 'take a host away, with its programs and pods'],
];

export function registerLive(lab: Command): void {
  for (const [verb, change, argument, description] of changes) {
    lab
      .command(verb)
      .argument(`<${argument}>`, argument === 'host' ? 'host' : 'as for logs')
      .description(description)
      .option('-l, --lab <lab>', 'name of the lab; not needed when one is up')
      .action(
        inside(async (who: string, options: LabOption) => {
          const tell = progress();
          await change(findLab(options.lab).layout, who, { tell, signal: interruptible(tell) });
          return 0;
        }),
      );
  }

  withOutput(lab.command('drill').argument('[lab]', 'name of the lab; not needed when one is up'))
    .description('go through the steps of the scenario’s drill, with its traffic; count what is lost')
    .action(inside(drill));

  withOutput(lab.command('traffic').argument('<from>', 'host or pod').argument('<to>', 'host or pod'))
    .description('send a packet every ten milliseconds, and count those that are not answered')
    .option('-s, --seconds <n>', 'this long; Ctrl-C ends it as well', integerBetween(1, 86_400), 10)
    .option('-l, --lab <lab>', 'name of the lab; not needed when one is up')
    .action(inside(traffic));
}

async function drill(name: string | undefined, options: OutputOptions): Promise<number> {
  const tell = progress();
  const report = await runDrill(findLab(name).layout, { tell, signal: interruptible(tell) });
  await show(options, report, () => viewDrill(report));
  return report.ok ? 0 : 1;
}

async function traffic(
  from: string,
  to: string,
  options: OutputOptions & LabOption & { seconds: number },
): Promise<number> {
  const stop = interruptible(() => {});
  using flow = new Traffic(endsOf(findLab(options.lab), { from, to }));
  await sleep(options.seconds * 1000, stop);
  const streams = await flow.count();
  const total = (key: 'sent' | 'lost') => streams.reduce((sum, stream) => sum + stream[key], 0);
  const report = { from, to, sent: total('sent'), lost: total('lost'), streams };
  await show(options, report, () =>
    streams
      .map(({ address, sent, lost }) => `${from} → ${to} (${address}): ${sent} packets sent, ${lost} lost`)
      .join('\n'),
  );
  return report.lost === 0 ? 0 : 1;
}
