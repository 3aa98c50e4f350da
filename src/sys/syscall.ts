/**
 * Raw Linux system calls with the error in the return value. A call through libc would leave the error in `errno`, which
 * the runtime may overwrite before it is read; a few bytes of machine code in an executable page avoid that.
 */
import { CFunction, dlopen, FFIType, ptr } from 'bun:ffi';
import { KernelError } from './errno.ts';

const libc = dlopen('libc.so.6', {
  mmap: { args: ['usize', 'usize', 'i32', 'i32', 'i32', 'i64'], returns: 'ptr' },
  mprotect: { args: ['ptr', 'usize', 'i32'], returns: 'i32' },
  memcpy: { args: ['ptr', 'ptr', 'usize'], returns: 'ptr' },
});

// The C calling convention's arguments moved to where the kernel wants them, then the trap.
const stub = Buffer.from(
  process.arch === 'x64'
    ? // mov rax,rdi; mov rdi,rsi; mov rsi,rdx; mov rdx,rcx; mov r10,r8; mov r8,r9; mov r9,[rsp+8]; syscall; ret
      '4889f84889f74889d64889ca4d89c24d89c84c8b4c24080f05c3'
    : // mov x8,x0; mov x0,x1; … mov x5,x6; svc #0; ret
      'e80300aae00301aae10302aae20303aae30304aae40305aae50306aa010000d4c0035fd6',
  'hex',
);

const PROT_READ_WRITE = 3;
const PROT_READ_EXEC = 5;
const MAP_PRIVATE_ANONYMOUS = 0x22;
const page = libc.symbols.mmap(0, 4096, PROT_READ_WRITE, MAP_PRIVATE_ANONYMOUS, -1, 0);
if (page === null) throw new Error('mmap of the system call stub failed');
libc.symbols.memcpy(page, ptr(stub), stub.length);
if (libc.symbols.mprotect(page, 4096, PROT_READ_EXEC) !== 0) {
  throw new Error('the kernel refuses an executable page; godwit needs one for its system calls');
}
const trap = CFunction({
  ptr: page,
  args: ['i64', 'i64', 'i64', 'i64', 'i64', 'i64', 'i64'],
  returns: FFIType.i64_fast,
});

/** System call numbers: [x86-64, arm64]. */
const numbers = {
  accept4: [288, 242],
  bind: [49, 200],
  bpf: [321, 280],
  close: [3, 57],
  connect: [42, 203],
  fcntl: [72, 25],
  flock: [73, 32],
  fsync: [74, 82],
  getpeername: [52, 205],
  getsockname: [51, 204],
  getsockopt: [55, 209],
  ioctl: [16, 29],
  listen: [50, 201],
  madvise: [28, 233],
  mount: [165, 40],
  openat: [257, 56],
  pidfd_open: [434, 434],
  pidfd_send_signal: [424, 424],
  recvfrom: [45, 207],
  sendto: [44, 206],
  setns: [308, 268],
  setsockopt: [54, 208],
  socket: [41, 198],
  umount2: [166, 39],
  unshare: [272, 97],
  userfaultfd: [323, 282],
} as const;

export const NR = Object.fromEntries(
  Object.entries(numbers).map(([name, [x64, arm64]]) => [name, process.arch === 'x64' ? x64 : arm64]),
) as Record<keyof typeof numbers, number>;

/** An argument: a number, or a buffer whose address is passed (it must stay referenced until the call returns). */
export type Argument = number | NodeJS.TypedArray;

const toWord = (argument: Argument): number => (typeof argument === 'number' ? argument : ptr(argument));

/** The kernel's own return value: −errno on failure. */
export function syscall(
  number: number,
  a: Argument = 0,
  b: Argument = 0,
  c: Argument = 0,
  d: Argument = 0,
  e: Argument = 0,
  f: Argument = 0,
): number {
  return Number(trap(number, toWord(a), toWord(b), toWord(c), toWord(d), toWord(e), toWord(f)));
}

/** Passes a result of `syscall` through, or throws what the kernel said. */
export function check(operation: string, result: number): number {
  if (result < 0) throw new KernelError(operation, -result);
  return result;
}

/** The address of a buffer, for structures that hold pointers; the buffer must stay referenced while it is used. */
export const ptrOf = (buffer: NodeJS.TypedArray): number => ptr(buffer);

/** A C string. */
export const cstring = (text: string): Uint8Array => new TextEncoder().encode(`${text}\0`);
