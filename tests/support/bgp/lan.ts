/** One Ethernet segment of namespaces: a bridge in a namespace of its own, and a veth to each router. */
import { TestNamespaces } from '../netns.ts';

export class Lan implements Disposable {
  readonly namespaces = new TestNamespaces();
  private readonly hub = 'hub';
  private count = 0;

  constructor() {
    this.namespaces.add(this.hub);
    this.hubRun('ip', 'link', 'add', 'br0', 'type', 'bridge');
    this.hubRun('ip', 'link', 'set', 'br0', 'up');
  }

  /** A router's namespace with `eth0` on the segment. Addresses are usable at once: no duplicate address detection. */
  join(name: string, address4: string, address6: string): void {
    const port = `p${++this.count}`;
    this.namespaces.add(name);
    this.hubRun('ip', 'link', 'add', port, 'type', 'veth', 'peer', 'name', 'eth0', 'netns', this.namespaces.name(name));
    this.hubRun('ip', 'link', 'set', port, 'master', 'br0', 'up');
    const inside = (...command: string[]) => this.namespaces.run(name, ...command);
    inside(
      'sysctl',
      '-qw',
      'net.ipv6.conf.eth0.accept_dad=0',
      'net.ipv4.ip_forward=1',
      'net.ipv6.conf.all.forwarding=1',
    );
    inside('ip', 'link', 'set', 'lo', 'up');
    inside('ip', 'link', 'set', 'eth0', 'up');
    inside('ip', 'addr', 'add', `${address4}/24`, 'dev', 'eth0');
    inside('ip', '-6', 'addr', 'add', `${address6}/64`, 'dev', 'eth0', 'nodad');
  }

  /** Takes a router's cable out, or puts it back. */
  cable(name: string, state: 'up' | 'down'): void {
    this.namespaces.run(name, 'ip', 'link', 'set', 'eth0', state);
  }

  private hubRun(...command: string[]): void {
    this.namespaces.run(this.hub, ...command);
  }

  [Symbol.dispose](): void {
    this.namespaces[Symbol.dispose]();
  }
}
