/** x86-64 machine code for the instructions of `machine.ts`; opcodes as in Intel's manual, volume 2. */
import type { Condition, Machine, Operand, Register, SystemCall, Width } from './machine.ts';

const [RAX, RDX, RBX, RSP, RBP, RSI, RDI] = [0, 2, 3, 4, 5, 6, 7];
/** Kept by the kernel over system calls, which spoil rax, rcx and r11 only. */
const registers: Readonly<Record<Register, number>> = { r0: RBX, r1: RBP, r2: 12, r3: 13, r4: 14, r5: 15 };
const argumentRegisters = [RDI, RSI, RDX, 10, 8, 9];

/** asm/unistd_64.h */
const numbers: Readonly<Record<SystemCall, number>> = {
  ...{ read: 0, write: 1, lseek: 8, socket: 41, connect: 42, sendto: 44, recvfrom: 45, setsockopt: 54, execve: 59 },
  ...{ exit_group: 231, dup3: 292, memfd_create: 319 },
};

/** Second byte of Jcc rel32. */
const jumps: Readonly<Record<Condition, number>> = { eq: 0x84, ne: 0x85, lt: 0x8c, ge: 0x8d, le: 0x8e, gt: 0x8f };
const loads: Readonly<Record<Width, readonly number[]>> = { 1: [0x0f, 0xb6], 4: [0x8b], 8: [0x8b] };
const stores: Readonly<Record<Width, readonly number[]>> = { 1: [0x88], 4: [0x89], 8: [0x89] };

export class X86Machine implements Machine {
  readonly elfMachine = 62;
  private readonly bytes: number[] = [];
  private readonly labels = new Map<string, number>();
  private readonly jumpsTo: { readonly at: number; readonly label: string }[] = [];

  label(name: string): void {
    this.labels.set(name, this.bytes.length);
  }

  stackPointer(to: Register): void {
    this.registerToRegister(0x89, registers[to], RSP);
  }

  set(to: Register, value: Operand): void {
    this.setNumbered(registers[to], value);
  }

  add(to: Register, value: Operand): void {
    if (typeof value === 'number') this.withImmediate(0, registers[to], value);
    else this.registerToRegister(0x01, registers[to], registers[value]);
  }

  subtract(to: Register, value: Register): void {
    this.registerToRegister(0x29, registers[to], registers[value]);
  }

  load(width: Width, to: Register, base: Register, offset: number): void {
    this.memory(width, loads[width], registers[to], registers[base], offset);
  }

  store(width: Width, from: Register, base: Register, offset: number): void {
    this.memory(width, stores[width], registers[from], registers[base], offset);
  }

  jump(to: string): void {
    this.bytes.push(0xe9);
    this.target(to);
  }

  jumpIf(left: Register, condition: Condition, right: Operand, to: string): void {
    if (typeof right === 'number') this.withImmediate(7, registers[left], right);
    else this.registerToRegister(0x39, registers[left], registers[right]);
    this.bytes.push(0x0f, jumps[condition]);
    this.target(to);
  }

  call(name: SystemCall, ...args: readonly Operand[]): void {
    for (const [i, value] of args.entries()) this.setNumbered(argumentRegisters[i]!, value);
    this.setNumbered(RAX, numbers[name]);
    this.bytes.push(0x0f, 0x05);
    this.registerToRegister(0x89, registers.r0, RAX);
  }

  finish(): Uint8Array {
    const code = Uint8Array.from(this.bytes);
    const view = new DataView(code.buffer);
    for (const { at, label } of this.jumpsTo) {
      const target = this.labels.get(label);
      if (target === undefined) throw new Error(`no label ${label}`);
      view.setInt32(at, target - (at + 4), true);
    }
    return code;
  }

  /** MOV r64, imm32 (sign-extended), or from another register. */
  private setNumbered(to: number, value: Operand): void {
    if (typeof value !== 'number') return this.registerToRegister(0x89, to, registers[value]);
    this.bytes.push(0x48 | (to >> 3), 0xc7, 0xc0 | (to & 7));
    this.number32(value);
  }

  /** REX.W opcode /r between two registers: `rm` is the destination. */
  private registerToRegister(opcode: number, rm: number, register: number): void {
    this.bytes.push(0x48 | ((register >> 3) << 2) | (rm >> 3), opcode, 0xc0 | ((register & 7) << 3) | (rm & 7));
  }

  /** REX.W 81 /extension id: ADD is 0, CMP is 7. */
  private withImmediate(extension: number, rm: number, value: number): void {
    this.bytes.push(0x48 | (rm >> 3), 0x81, 0xc0 | (extension << 3) | (rm & 7));
    this.number32(value);
  }

  /** [base + disp32]. A prefix is always there: without one, byte registers 4 to 7 would be AH to BH. */
  private memory(width: Width, opcode: readonly number[], register: number, base: number, offset: number): void {
    const prefix = 0x40 | (width === 8 ? 8 : 0) | ((register >> 3) << 2) | (base >> 3);
    this.bytes.push(prefix, ...opcode, 0x80 | ((register & 7) << 3) | (base & 7));
    // that encoding of a base says that a SIB byte follows; this one names r12 and no index
    if ((base & 7) === RSP) this.bytes.push(0x24);
    this.number32(offset);
  }

  private target(label: string): void {
    this.jumpsTo.push({ at: this.bytes.length, label });
    this.number32(0);
  }

  private number32(value: number): void {
    if (value !== (value | 0)) throw new Error(`${value} does not fit in 32 bits`);
    this.bytes.push(value & 0xff, (value >> 8) & 0xff, (value >> 16) & 0xff, (value >> 24) & 0xff);
  }
}
