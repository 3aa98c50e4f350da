/**
 * Raw Linux system calls with the error in the return value. A call through libc would leave the error in `errno`, which
 * the runtime may overwrite before it is read; a few bytes of machine code in an executable page avoid that.
 */
import { CFunction, dlopen, ptr } from 'bun:ffi';
import { KernelError } from './errno.ts';

const libc = dlopen('libc.so.6', {
  mmap: { args: ['usize', 'usize', 'i32', 'i32', 'i32', 'i64'], returns: 'ptr' },
  mprotect: { args: ['ptr', 'usize', 'i32'], returns: 'i32' },
  memcpy: { args: ['ptr', 'ptr', 'usize'], returns: 'ptr' },
});

// The C calling convention's arguments moved to where the kernel wants them, then the trap.
const stub =
  process.arch === 'x64'
    ? // mov rax,rdi; mov rdi,rsi; mov rsi,rdx; mov rdx,rcx; mov r10,r8; mov r8,r9; mov r9,[rsp+8]; syscall; ret
      Uint8Array.of(
        0x48,
        0x89,
        0xf8,
        0x48,
        0x89,
        0xf7,
        0x48,
        0x89,
        0xd6,
        0x48,
        0x89,
        0xca,
        0x4d,
        0x89,
        0xc2,
        0x4d,
        0x89,
        0xc8,
        0x4c,
        0x8b,
        0x4c,
        0x24,
        0x08,
        0x0f,
        0x05,
        0xc3,
      )
    : // mov x8,x0; mov x0,x1; … mov x5,x6; svc #0; ret
      new Uint8Array(
        Uint32Array.of(
          0xaa0003e8,
          0xaa0103e0,
          0xaa0203e1,
          0xaa0303e2,
          0xaa0403e3,
          0xaa0503e4,
          0xaa0603e5,
          0xd4000001,
          0xd65f03c0,
        ).buffer,
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
const trap = CFunction({ ptr: page, args: ['i64', 'i64', 'i64', 'i64', 'i64', 'i64', 'i64'], returns: 'i64_fast' });

/** System call numbers, by architecture. */
export const NR =
  process.arch === 'x64'
    ? ({
	close: 3,
	socket: 41,
	connect: 42,
	sendto: 44,
	recvfrom: 45,
	bind: 49,
	getsockname: 51,
	getpeername: 52,
	setsockopt: 54,
	getsockopt: 55,
	fcntl: 72,
	openat: 257,
	unshare: 272,
	setns: 308,
	bpf: 321,
	...{
		mount: 165,
		umount2: 166,
		ioctl: 16,
		flock: 73,
		fsync: 74,
		listen: 50,
		accept4: 288
	}
})
    : ({
	close: 57,
	socket: 198,
	connect: 203,
	sendto: 206,
	recvfrom: 207,
	bind: 200,
	getsockname: 204,
	getpeername: 205,
	setsockopt: 208,
	getsockopt: 209,
	fcntl: 25,
	openat: 56,
	unshare: 97,
	setns: 268,
	...{
		bpf: 280,
		mount: 40,
		umount2: 39,
		ioctl: 29,
		flock: 32,
		fsync: 82,
		listen: 201,
		accept4: 242
	}
});

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

/** A C string. */
export const cstring = (text: string): Uint8Array => new TextEncoder().encode(`${text}\0`);
