/** Two speakers, 10.0.0.1 of AS 65001 and 10.0.0.2 of AS 65002, on a network and a clock inside the test. */
import { ManualClock } from '../../base/mod.ts';
import { ip } from '../../net/mod.ts';
import { parseConfig } from '../config/yaml/mod.ts';
import type { BgpConfig } from '../config/mod.ts';
import { createSpeaker, FakeNetwork } from '../speaker/mod.ts';
import type { Speaker } from '../speaker/mod.ts';

export function config(n: 1 | 2, rest: string): BgpConfig {
  const parsed = parseConfig(
    `routerId: 10.0.0.${n}\nas: 6500${n}\ncontrol: false\nlisten: [10.0.0.${n}]\nebgpRequiresPolicy: false\n${rest}`,
  );
  if (!parsed.ok) throw new Error(parsed.error.join('\n'));
  return parsed.value;
}

export class Pair implements Disposable {
  readonly one: Speaker;
  readonly two: Speaker;
  private readonly clock = new ManualClock();
  private readonly network = new FakeNetwork(this.clock);
  private readonly stop = new AbortController();

  constructor(one: string, two: string) {
    this.one = this.speaker(1, one);
    this.two = this.speaker(2, two);
  }

  private speaker(n: 1 | 2, rest: string): Speaker {
    const { clock } = this;
    const speaker = createSpeaker({ config: config(n, rest), clock, network: this.network.host(ip(`10.0.0.${n}`)) });
    void speaker.run(this.stop.signal);
    return speaker;
  }

  /** Until it holds, for a minute of their time at most. */
  async until(holds: () => boolean): Promise<void> {
    for (let i = 0; !holds(); i++) {
      if (i === 1200) throw new Error('does not happen');
      this.clock.advance(50);
      await new Promise((resolve) => setImmediate(resolve));
    }
  }

  [Symbol.dispose](): void {
    this.stop.abort();
  }
}
