/**
 * Hears when somebody changes the neighbours or forwarding entries of VXLAN devices. Only as long as there are such devices:
 * the kernel tells every change of every neighbour, and on a node without VXLAN nobody need wake up for it.
 */
import { monitorKernel } from '../../netlink/mod.ts';
import type { TunnelKernel } from './device.ts';

export class NeighbourWatch implements Disposable {
  private readonly kernel: TunnelKernel;
  private readonly changed: () => void;
  private indexes: ReadonlySet<number> = new Set();
  private monitor: Disposable | undefined;

  /** `changed` is called for the devices followed, also when changes may have been missed. */
  constructor(kernel: TunnelKernel, changed: () => void) {
    this.kernel = kernel;
    this.changed = changed;
  }

  /** From now on these devices, as far as they are there. */
  follow(names: readonly string[]): void {
    const { kernel } = this;
    this.indexes = new Set(names.flatMap((name) => kernel.netlink.link(name)?.index ?? []));
    if (this.indexes.size === 0) this[Symbol.dispose]();
    else this.monitor ??= kernel.inside(() => this.listen());
  }

  private listen(): Disposable {
    return monitorKernel(
      (event) => {
        const ours = event.type === 'neighbour' && this.indexes.has(event.neighbour.index);
        if (ours || event.type === 'resync') this.changed();
      },
      { groups: ['NEIGH'], receiveBufferBytes: 1 << 20, except: this.kernel.netlink.portId },
    );
  }

  [Symbol.dispose](): void {
    this.monitor?.[Symbol.dispose]();
    this.monitor = undefined;
  }
}
