/**
 * A small eBPF assembler. Programs are written as a list of instructions with labels; `assemble` resolves the labels and
 * gives the bytes bpf(2) takes. Registers are numbers: r0 result, r1–r5 arguments (lost at each call), r6–r9 kept,
 * r10 the stack's end.
 */
export type Register = 0 | 1 | 2 | 3 | 4 | 5 | 6 | 7 | 8 | 9 | 10;
/** Operand width: 1, 2, 4 or 8 bytes. */
export type Width = 'b' | 'h' | 'w' | 'd';

const width = { b: 0x10, h: 0x08, w: 0x00, d: 0x18 } as const;
const jump = { eq: 0x10, gt: 0x20, ge: 0x30, ne: 0x50 } as const;
const LDX = 0x61;
const ST = 0x62;
const STX = 0x63;
const [JMP, JMP32] = [0x05, 0x06];
const FROM_REGISTER = 0x08;

export class Assembler {
  private readonly words: number[] = [];
  private readonly labels = new Map<string, number>();
  private readonly jumps: { at: number; to: string }[] = [];

  private emit(code: number, destination = 0, source = 0, offset = 0, immediate = 0): this {
    this.words.push((code & 0xff) | (destination << 8) | (source << 12) | ((offset & 0xffff) << 16), immediate | 0);
    return this;
  }

  label(name: string): this {
    this.labels.set(name, this.words.length / 2);
    return this;
  }

  mov(to: Register, from: Register): this {
    return this.emit(0xbf, to, from);
  }

  movImmediate(to: Register, value: number): this {
    return this.emit(0xb7, to, 0, 0, value);
  }

  add(to: Register, from: Register): this {
    return this.emit(0x0f, to, from);
  }

  addImmediate(to: Register, value: number): this {
    return this.emit(0x07, to, 0, 0, value);
  }

  /** 32-bit and; clears the upper half. */
  and(to: Register, mask: number): this {
    return this.emit(0x54, to, 0, 0, mask);
  }

  shiftRight(to: Register, bits: number): this {
    return this.emit(0x77, to, 0, 0, bits);
  }

  xor(to: Register, mask: number): this {
    return this.emit(0xa7, to, 0, 0, mask);
  }

  /** Swaps 16 bits between host and network order (on little-endian machines). */
  swap16(register: Register): this {
    return this.emit(0xdc, register, 0, 0, 16);
  }

  load(size: Width, to: Register, from: Register, offset: number): this {
    return this.emit(LDX | width[size], to, from, offset);
  }

  store(size: Width, base: Register, offset: number, from: Register): this {
    return this.emit(STX | width[size], base, from, offset);
  }

  storeImmediate(size: Width, base: Register, offset: number, value: number): this {
    return this.emit(ST | width[size], base, 0, offset, value);
  }

  /** Loads the map with this descriptor, for the program load to turn into its address. */
  loadMap(to: Register, descriptor: number): this {
    const BPF_PSEUDO_MAP_FD = 1;
    return this.emit(0x18, to, BPF_PSEUDO_MAP_FD, 0, descriptor).emit(0);
  }

  call(helper: number): this {
    return this.emit(0x85, 0, 0, 0, helper);
  }

  exit(): this {
    return this.emit(0x95);
  }

  private branch(code: number, a: Register, b: number, immediate: number, to: string): this {
    this.jumps.push({ at: this.words.length / 2, to });
    return this.emit(code, a, b, 0, immediate);
  }

  /** 32-bit comparison: IPv4 addresses as immediates would be sign-extended in a 64-bit one. */
  jumpIf(condition: keyof typeof jump, register: Register, value: number, to: string): this {
    return this.branch(JMP32 | jump[condition], register, 0, value, to);
  }

  /** 64-bit comparison of a pointer or result with a small number. */
  jumpIf64(condition: keyof typeof jump, register: Register, value: number, to: string): this {
    return this.branch(JMP | jump[condition], register, 0, value, to);
  }

  jumpIfRegister(condition: keyof typeof jump, a: Register, b: Register, to: string): this {
    return this.branch(JMP | FROM_REGISTER | jump[condition], a, b, 0, to);
  }

  assemble(): Uint8Array {
    for (const { at, to } of this.jumps) {
      const target = this.labels.get(to);
      if (target === undefined) throw new Error(`no label ${to}`);
      this.words[2 * at] = (this.words[2 * at]! & 0xffff) | (((target - at - 1) & 0xffff) << 16);
    }
    return new Uint8Array(Int32Array.from(this.words).buffer);
  }
}
