/** A steady stream of packets and the count of those lost. */
import { expect } from 'bun:test';
import { type ChildProcess, spawn } from 'node:child_process';
import { until } from './until.ts';

const INTERVAL_S = '0.01';
/** So many at the end may not be answered yet on a busy machine; more of them are lost. */
const ON_THE_WAY = 20;

/** `ping` from a namespace, a hundred a second, until stopped. */
export class Traffic implements Disposable {
  private readonly child: ChildProcess;
  private output = '';

  /** `namespace` is the name `ip netns` knows. */
  constructor(namespace: string, from: string, to: string) {
    this.child = spawn('ip', ['netns', 'exec', namespace, 'ping', '-D', '-n', '-I', from, '-i', INTERVAL_S, to]);
    this.child.stdout!.on('data', (data: Buffer) => (this.output += data.toString()));
  }

  /** Waits until so many answers have come, or as many more than until now. */
  async flowing(answers = 1): Promise<void> {
    const count = () => this.output.split('bytes from').length - 1;
    const before = answers === 1 ? 0 : count();
    await until('answers come', () => count() >= before + answers);
  }

  /** Ends the stream; packets sent and packets lost. The last few may still have been on their way. */
  async stop(): Promise<{ readonly sent: number; readonly lost: number }> {
    const ended = new Promise((done) => this.child.once('close', done));
    this.child.kill('SIGINT');
    await ended;
    const [, sent] = /(\d+) packets transmitted/.exec(this.output) ?? [];
    const answered = new Set([...this.output.matchAll(/bytes from .* icmp_seq=(\d+)/g)].map(([, seq]) => Number(seq)));
    const last = Math.max(0, ...answered);
    const tail = Number(sent) - last;
    return { sent: Number(sent), lost: last - answered.size + (tail > ON_THE_WAY ? tail : 0) };
  }

  [Symbol.dispose](): void {
    this.child.kill('SIGKILL');
  }
}

/** Ends the streams: of none a packet was lost, and each sent more than so many. Gives how many each sent. */
export async function nothingLost(streams: readonly Traffic[], moreThan = 10): Promise<number[]> {
  // what went wrong a moment ago shows in what comes now
  for (const stream of streams) await stream.flowing(20);
  const counts = await Promise.all(streams.map((stream) => stream.stop()));
  expect(counts.map(({ lost }) => lost)).toEqual(counts.map(() => 0));
  for (const { sent } of counts) expect(sent).toBeGreaterThan(moreThan);
  return counts.map(({ sent }) => sent);
}
