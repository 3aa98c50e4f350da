/**
 * Where the IPIP programs hang on devices: TCX where the kernel has it, else a tc filter on a clsact qdisc. The name of a
 * program is our mark, and tells what it was made for.
 */
import { attachTcx, detachTcx, loadClassifier, tcxPrograms } from '../../bpf/mod.ts';
import type { TcxHook, TcxProgram } from '../../bpf/mod.ts';
import { addClsact, deleteBpfFilter, setBpfFilter } from '../../netlink/mod.ts';
import type { BpfFilter, Link } from '../../netlink/mod.ts';
import { errno, isErrno } from '../../sys/mod.ts';
import type { PlannedChange } from '../part.ts';
import type { TunnelKernel } from './device.ts';

/** All our programs' names begin with it; the kernel keeps 15 characters of one. */
const MARK = 'gwipip_';
const FILTER_PRIORITY = 71;

export const hookName = (purpose: string): string =>
  `${MARK}${Bun.hash.xxHash32(purpose).toString(16).padStart(8, '0')}`;

/** A program of ours on a device. */
export type Attached = { readonly by: 'tcx'; readonly at: TcxProgram } | { readonly by: 'tc'; readonly at: BpfFilter };

export class ProgramHooks {
  private readonly kernel: TunnelKernel;

  constructor(kernel: TunnelKernel) {
    this.kernel = kernel;
  }

  attached(
    { index }: Link,
    hook: TcxHook,
  ): { readonly name: string; readonly programId: number; readonly on: Attached }[] {
    const { netlink } = this.kernel;
    const tcx = this.kernel.inside(() => tcxPrograms(index, hook)) ?? [];
    const tc = netlink.bpfFilters(index, hook).filter((filter) => filter.priority === FILTER_PRIORITY);
    const all = [...tcx.map((at): Attached => ({ by: 'tcx', at })), ...tc.map((at): Attached => ({ by: 'tc', at }))];
    return all
      .filter(({ at }) => at.name.startsWith(MARK))
      .map((on) => ({ name: on.at.name, programId: on.at.programId, on }));
  }

  /** Our programs for what comes in, wherever they are. */
  incoming() {
    // pods' devices are ours and never have one; there may be hundreds of them
    const links = this.kernel.netlink.links().filter((link) => !link.alias.startsWith('godwit:'));
    return links.flatMap((link) => this.attached(link, 'ingress').map((program) => [link, program] as const));
  }

  /** Attaches the program; those of ours that were at this hook go once it is there. */
  attachment(link: Link, hook: TcxHook, name: string, build: () => Uint8Array): PlannedChange {
    const apply = () => {
      const before = this.attached(link, hook);
      using program = loadClassifier(name, build());
      const { index } = link;
      const byTcx = this.kernel.inside(() => attachTcx(index, hook, program));
      if (!byTcx) {
        const { netlink } = this.kernel;
        const [refused] = netlink.changeEach([index], (batch) => void addClsact(batch, index));
        if (refused && !isErrno(refused, errno.EEXIST)) throw refused;
        // takes the place of the one of the same priority
        const filter = { index, hook, name, priority: FILTER_PRIORITY, program: program.number };
        netlink.change((batch) => void setBpfFilter(batch, filter));
      }
      for (const { on } of before) if (byTcx || on.by === 'tcx') this.detach(on);
    };
    return {
      text: `bpftool net attach ${hook === 'ingress' ? 'tcx_ingress' : 'tcx_egress'} dev ${link.name} # ${name}`,
      apply,
    };
  }

  detachment(link: Link, { name, on }: { readonly name: string; readonly on: Attached }): PlannedChange {
    return { text: `bpftool net detach ${on.at.hook} dev ${link.name} # ${name}`, apply: () => this.detach(on) };
  }

  private detach(on: Attached): void {
    if (on.by === 'tcx') this.kernel.inside(() => detachTcx(on.at));
    else this.kernel.netlink.change((batch) => void deleteBpfFilter(batch, on.at));
  }
}
