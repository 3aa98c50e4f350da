/** Traffic control as far as BPF programs need it: the clsact qdisc and direct-action BPF filters (struct tcmsg). */
import type { Reader } from '../base/mod.ts';
import { NLM_F, RTM_TC, TC } from './codes.ts';
import { forEachAttribute, readString } from './message.ts';
import type { Batch } from './message.ts';

export type FilterHook = 'ingress' | 'egress';

export interface BpfFilter {
  /** Interface index. */
  readonly index: number;
  readonly hook: FilterHook;
  /** Lower runs first. */
  readonly priority: number;
  readonly name: string;
  /** The kernel's id of the program. */
  readonly programId: number;
}

const ETH_P_ALL_BE = 0x0300;
const parentOf = (hook: FilterHook): number => (hook === 'ingress' ? TC.CLSACT_INGRESS : TC.CLSACT_EGRESS);

/** struct tcmsg */
function header(batch: Batch, index: number, handle: number, parent: number, info: number): Batch {
  return batch.u8(0).u8(0).u16(0).u32(index).u32(handle).u32(parent).u32(info);
}

/** The hook point itself; EEXIST when the device has one, which is fine. */
export function addClsact(batch: Batch, index: number): Batch {
  batch.begin(RTM_TC.NEWQDISC, NLM_F.ACK | NLM_F.CREATE | NLM_F.EXCL, `clsact on link ${index}`);
  return header(batch, index, TC.CLSACT_HANDLE, TC.CLSACT_PARENT, 0).attributeString(TC.KIND, 'clsact').end();
}

/** Attaches a program, or takes the place of the filter of the same priority without a gap. */
export function setBpfFilter(batch: Batch, filter: Omit<BpfFilter, 'programId'> & { readonly program: number }): Batch {
  const name = `BPF filter ${filter.name} at ${filter.hook} of link ${filter.index}`;
  batch.begin(RTM_TC.NEWTFILTER, NLM_F.ACK | NLM_F.CREATE | NLM_F.REPLACE, name);
  header(batch, filter.index, 1, parentOf(filter.hook), (filter.priority << 16) | ETH_P_ALL_BE);
  batch.attributeString(TC.KIND, 'bpf').nested(TC.OPTIONS, () => {
    batch.attributeU32(TC.BPF_FD, filter.program).attributeString(TC.BPF_NAME, filter.name);
    batch.attributeU32(TC.BPF_FLAGS, TC.BPF_FLAG_DIRECT);
  });
  return batch.end();
}

export function deleteBpfFilter(batch: Batch, filter: Pick<BpfFilter, 'index' | 'hook' | 'priority'>): Batch {
  batch.begin(RTM_TC.DELTFILTER, NLM_F.ACK, `delete BPF filter at ${filter.hook} of link ${filter.index}`);
  return header(batch, filter.index, 0, parentOf(filter.hook), (filter.priority << 16) | ETH_P_ALL_BE).end();
}

export function writeFilterDump(batch: Batch, index: number, hook: FilterHook): void {
  header(batch, index, 0, parentOf(hook), 0);
}

export function decodeBpfFilter(body: Reader, hook: FilterHook): BpfFilter | undefined {
  body.skip(4);
  const index = body.i32le();
  body.skip(8);
  const priority = body.u32le() >>> 16;
  if (body.failed) return undefined;
  let [kind, name] = ['', ''];
  let programId = 0;
  forEachAttribute(body, (type, value) => {
    if (type === TC.KIND) kind = readString(value);
    else if (type === TC.OPTIONS) {
      forEachAttribute(value, (option, inner) => {
        if (option === TC.BPF_NAME) name = readString(inner);
        else if (option === TC.BPF_ID) programId = inner.u32le();
      });
    }
  });
  // the kernel also tells of the chain itself, without a program
  return kind === 'bpf' && programId !== 0 ? { index, hook, priority, name, programId } : undefined;
}
