/**
 * TCX: programs on a device's way in or out without a qdisc (Linux 6.6). Making a qdisc first, as tc does, takes the
 * device's queues down for a moment, and packets of everybody are lost in it. What is attached here stays without this
 * process. All of it is about the network namespace the calling thread is in.
 */
import { check, errno, syscall, NR, ptrOf } from '../sys/mod.ts';
import type { Fd } from '../sys/mod.ts';
import { openProgram, programName } from './objects.ts';

export type TcxHook = 'ingress' | 'egress';

const CMD = { PROG_ATTACH: 8, PROG_DETACH: 9, PROG_QUERY: 16 } as const;
const ATTACH_TYPE: Readonly<Record<TcxHook, number>> = { ingress: 46, egress: 47 };
const MAX_PROGRAMS = 64;

export interface TcxProgram {
  /** Interface index. */
  readonly index: number;
  readonly hook: TcxHook;
  /** The program's own name, 15 characters at most. */
  readonly name: string;
  readonly programId: number;
}

function attributes(index: number, hook: TcxHook, length: number): DataView {
  const view = new DataView(new ArrayBuffer(length));
  view.setUint32(0, index, true);
  return view;
}

const call = (command: number, view: DataView): number =>
  syscall(NR.bpf, command, new Uint8Array(view.buffer), view.byteLength);

/** The programs at one hook, in the order they run; undefined where the kernel has no TCX. */
export function tcxPrograms(index: number, hook: TcxHook): TcxProgram[] | undefined {
  const ids = new Uint32Array(MAX_PROGRAMS);
  const view = attributes(index, hook, 64);
  view.setUint32(4, ATTACH_TYPE[hook], true);
  view.setBigUint64(16, BigInt(ptrOf(ids)), true);
  view.setUint32(24, MAX_PROGRAMS, true);
  const result = call(CMD.PROG_QUERY, view);
  if (result === -errno.EINVAL || result === -errno.EOPNOTSUPP) return undefined;
  // no such hook was ever used on this device, or the device is gone
  if (result === -errno.ENOENT || result === -errno.ENODEV) return [];
  // whoever may not look has put none there either: a node in a user namespace of its own
  if (result === -errno.EPERM) return [];
  check(`programs at ${hook} of link ${index}`, result);
  return Array.from(ids.subarray(0, view.getUint32(24, true)), (programId) => ({
    ...{ index, hook, programId },
    name: programName(programId) ?? '',
  }));
}

/** Attaches a program behind those that are there; false where the kernel has no TCX. */
export function attachTcx(index: number, hook: TcxHook, program: Fd): boolean {
  const view = attributes(index, hook, 32);
  view.setUint32(4, program.number, true);
  view.setUint32(8, ATTACH_TYPE[hook], true);
  const result = call(CMD.PROG_ATTACH, view);
  if (result === -errno.EINVAL || result === -errno.EOPNOTSUPP) return false;
  check(`attach a program at ${hook} of link ${index}`, result);
  return true;
}

/** Takes a program off; nothing happens when it is not there any more. */
export function detachTcx({ index, hook, programId }: TcxProgram): void {
  using program = openProgram(programId);
  if (!program) return;
  const view = attributes(index, hook, 32);
  view.setUint32(4, program.number, true);
  view.setUint32(8, ATTACH_TYPE[hook], true);
  const result = call(CMD.PROG_DETACH, view);
  if (result !== -errno.ENOENT && result !== -errno.ENODEV)
    check(`detach a program from ${hook} of link ${index}`, result);
}
