// A process that takes and gives back addresses until it is killed, and says so on stdout line by line:
// `TIME ask H`, `TIME have H ADDRESS`, `TIME drop H`, `TIME free H`, in microseconds of the calendar. Arguments: datastore, node, prefix of its handles, families (`4`, `46`).
import { writeSync } from 'node:fs';
import { openDatastore } from '../../src/datastore/mod.ts';
import { BlockIpam } from '../../src/ipam/blocks/mod.ts';

const [url, node, prefix, families] = process.argv.slice(2) as [string, string, string, string];
const want = ([4, 6] as const).filter((family) => families.includes(String(family))).map((family) => ({ family }));
await using store = await openDatastore(url, { requestTimeoutMs: 1000 });
const ipam = new BlockIpam({ store, node, patienceMs: 60_000 });
const say = (line: string): void =>
  void writeSync(1, `${Math.round((performance.timeOrigin + performance.now()) * 1000)} ${line}\n`);

async function life(number: number): Promise<void> {
  for (let turn = 0; ; turn++) {
    const handle = `${prefix}.${number}.${turn}`;
    say(`ask ${handle}`);
    const result = await ipam.assign({
      handle,
      attributes: { node, pod: handle, namespace: 'x' },
      want,
    });
    if (!result.ok) {
      await Bun.sleep(20);
      continue;
    }
    say(`have ${handle} ${result.value.map(({ address }) => address).join()}`);
    if (Math.random() < 0.2) continue;
    await Bun.sleep(Math.random() * 20);
    say(`drop ${handle}`);
    if ((await ipam.release(handle)).ok) say(`free ${handle}`);
  }
}
await Promise.all([life(0), life(1), life(2)]);
