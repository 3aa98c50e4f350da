/** AArch64 machine code for the instructions of `machine.ts`; encodings as in the Arm Architecture Reference Manual, C6.2. */
import type { Condition, Machine, Operand, Register, SystemCall, Width } from './machine.ts';

const registers: Readonly<Record<Register, number>> = { r0: 19, r1: 20, r2: 21, r3: 22, r4: 23, r5: 24 };
/** Holds constants that an instruction has no room for. */
const SCRATCH = 9;
const CALL_NUMBER = 8;
/** The zero register, or the stack pointer, as the instruction has it. */
const ZERO = 31;

/** asm-generic/unistd.h */
const numbers: Readonly<Record<SystemCall, number>> = {
  ...{ dup3: 24, lseek: 62, read: 63, write: 64, exit_group: 94, socket: 198, connect: 203, sendto: 206 },
  ...{ recvfrom: 207, setsockopt: 208, execve: 221, memfd_create: 279 },
};

const conditions: Readonly<Record<Condition, number>> = { eq: 0, ne: 1, ge: 10, lt: 11, gt: 12, le: 13 };
const loads: Readonly<Record<Width, number>> = { 1: 0x39400000, 4: 0xb9400000, 8: 0xf9400000 };
const stores: Readonly<Record<Width, number>> = { 1: 0x39000000, 4: 0xb9000000, 8: 0xf9000000 };
const MAX_SCALED_OFFSET = 4095;

export class Arm64Machine implements Machine {
  readonly elfMachine = 183;
  private readonly words: number[] = [];
  private readonly labels = new Map<string, number>();
  private readonly jumps: { readonly at: number; readonly label: string }[] = [];

  label(name: string): void {
    this.labels.set(name, this.words.length);
  }

  /** ADD Xd, SP, #0 */
  stackPointer(to: Register): void {
    this.words.push(0x91000000 | (ZERO << 5) | registers[to]);
  }

  set(to: Register, value: Operand): void {
    this.setNumbered(registers[to], value);
  }

  add(to: Register, value: Operand): void {
    this.threeRegisters(0x8b000000, registers[to], registers[to], this.inRegister(value));
  }

  subtract(to: Register, value: Register): void {
    this.threeRegisters(0xcb000000, registers[to], registers[to], registers[value]);
  }

  load(width: Width, to: Register, base: Register, offset: number): void {
    this.memory(loads[width], width, registers[to], registers[base], offset);
  }

  store(width: Width, from: Register, base: Register, offset: number): void {
    this.memory(stores[width], width, registers[from], registers[base], offset);
  }

  jump(to: string): void {
    this.target(0x14000000, to);
  }

  /** CMP, then B.cond */
  jumpIf(left: Register, condition: Condition, right: Operand, to: string): void {
    this.threeRegisters(0xeb000000, ZERO, registers[left], this.inRegister(right));
    this.target(0x54000000 | conditions[condition], to);
  }

  call(name: SystemCall, ...args: readonly Operand[]): void {
    for (const [i, value] of args.entries()) this.setNumbered(i, value);
    this.setNumbered(CALL_NUMBER, numbers[name]);
    this.words.push(0xd4000001); // SVC #0
    this.moveRegister(registers.r0, 0);
  }

  finish(): Uint8Array {
    const code = new DataView(new ArrayBuffer(4 * this.words.length));
    for (const [i, word] of this.words.entries()) code.setUint32(4 * i, word >>> 0, true);
    for (const { at, label } of this.jumps) {
      const target = this.labels.get(label);
      if (target === undefined) throw new Error(`no label ${label}`);
      const distance = target - at;
      const word = this.words[at]!;
      // B has 26 bits from bit 0, B.cond 19 bits from bit 5; programs here are far smaller than either reaches
      const field = word === 0x14000000 ? distance & 0x3ffffff : (distance & 0x7ffff) << 5;
      code.setUint32(4 * at, (word | field) >>> 0, true);
    }
    return new Uint8Array(code.buffer);
  }

  private setNumbered(to: number, value: Operand): void {
    if (typeof value !== 'number') return this.moveRegister(to, registers[value]);
    if (value !== (value | 0)) throw new Error(`${value} does not fit in 32 bits`);
    // MOVZ, or MOVN of the complement for what is negative; then MOVK for the upper half where it differs
    const negative = value < 0;
    const [low, high] = [value & 0xffff, (value >>> 16) & 0xffff];
    this.words.push((negative ? 0x92800000 : 0xd2800000) | ((negative ? ~low & 0xffff : low) << 5) | to);
    if (high !== (negative ? 0xffff : 0)) this.words.push(0xf2a00000 | (high << 5) | to);
  }

  /** ORR Xd, XZR, Xm */
  private moveRegister(to: number, from: number): void {
    this.threeRegisters(0xaa000000, to, ZERO, from);
  }

  private threeRegisters(opcode: number, destination: number, first: number, second: number): void {
    this.words.push(opcode | (second << 16) | (first << 5) | destination);
  }

  private inRegister(value: Operand): number {
    if (typeof value !== 'number') return registers[value];
    this.setNumbered(SCRATCH, value);
    return SCRATCH;
  }

  /** Unsigned offset, counted in widths. */
  private memory(opcode: number, width: Width, register: number, base: number, offset: number): void {
    const scaled = offset / width;
    if (!Number.isInteger(scaled) || scaled < 0 || scaled > MAX_SCALED_OFFSET) throw new Error(`offset ${offset}`);
    this.words.push(opcode | (scaled << 10) | (base << 5) | register);
  }

  private target(word: number, label: string): void {
    this.jumps.push({ at: this.words.length, label });
    this.words.push(word);
  }
}
