/**
 * The few instructions the plugin's program is written in. The program exists once; each processor's `Machine` turns the
 * instructions into its own machine code. Six registers, r0 to r5, of 64 bits, all kept over system calls; a system
 * call's result comes in r0. Numbers and addresses fit in 31 bits, so a program lies in the first 2 GiB.
 */
export type Register = 'r0' | 'r1' | 'r2' | 'r3' | 'r4' | 'r5';
export type Operand = Register | number;
/** Bytes moved between a register and memory; a load clears the rest of the register. */
export type Width = 1 | 4 | 8;
/** Signed comparison. */
export type Condition = 'eq' | 'ne' | 'lt' | 'ge' | 'gt' | 'le';

/** The system calls the program uses; every processor has numbers of its own for them. */
export type SystemCall =
  | 'read'
  | 'write'
  | 'lseek'
  | 'dup3'
  | 'socket'
  | 'setsockopt'
  | 'connect'
  | 'sendto'
  | 'recvfrom'
  | 'memfd_create'
  | 'execve'
  | 'exit_group';

export interface Machine {
  /** The ELF header's `e_machine`. */
  readonly elfMachine: number;
  label(name: string): void;
  /** The stack pointer, as it is when the program starts: at argc, argv and the environment. */
  stackPointer(to: Register): void;
  /** `to = value`; a number is from −2³¹ to 2³¹ − 1. */
  set(to: Register, value: Operand): void;
  add(to: Register, value: Operand): void;
  subtract(to: Register, value: Register): void;
  /** `to = memory[base + offset]`; the offset is a multiple of the width below 4096 widths, as everywhere here. */
  load(width: Width, to: Register, base: Register, offset: number): void;
  store(width: Width, from: Register, base: Register, offset: number): void;
  jump(to: string): void;
  jumpIf(left: Register, condition: Condition, right: Operand, to: string): void;
  /** r0 = the result, or −errno. */
  call(name: SystemCall, ...args: readonly Operand[]): void;
  /** The machine code; throws when a label is missing. */
  finish(): Uint8Array;
}
