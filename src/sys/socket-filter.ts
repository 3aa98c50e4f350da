/** Classic BPF: a few instructions that look at each message before a socket takes it (filter.txt, bpf(4) of the BSDs). */
import type { Fd } from './fd.ts';
import { setOption, SOL } from './socket.ts';
import { ptrOf } from './syscall.ts';

const SO_ATTACH_FILTER = 26;

/** struct sock_filter: code, jump if true, jump if false, operand. */
export type FilterInstruction = readonly [number, number, number, number];

/** The program gives the number of bytes to take of a message, 0 to drop it. Throws KernelError. */
export function attachFilter(fd: Fd, ...instructions: readonly FilterInstruction[]): void {
  const program = new Uint8Array(instructions.length * 8);
  const view = new DataView(program.buffer);
  for (const [i, [code, whenTrue, whenFalse, operand]] of instructions.entries()) {
    view.setUint16(i * 8, code, true);
    program.set([whenTrue, whenFalse], i * 8 + 2);
    view.setUint32(i * 8 + 4, operand, true);
  }
  // struct sock_fprog
  const description = new Uint8Array(16);
  const fields = new DataView(description.buffer);
  fields.setUint16(0, instructions.length, true);
  fields.setBigUint64(8, BigInt(ptrOf(program)), true);
  setOption(fd, SOL.SOCKET, SO_ATTACH_FILTER, description);
}
