/**
 * The smallest ELF executable that serves: 64 bits, little-endian, static, no sections. Two segments: the file itself
 * (headers, constants, code: read and execute) and empty memory to write to, which costs nothing until it is touched.
 */
/** Where the file is mapped; both segments are aligned for kernels with pages of up to 64 KiB. */
const FILE_ADDRESS = 0x400000;
export const MEMORY_ADDRESS = 0x800000;
const ALIGNMENT = 0x10000;

const HEADER_BYTES = 64;
const SEGMENT_BYTES = 56;
const SEGMENTS = 3;
const [PT_LOAD, PT_GNU_STACK] = [1, 0x6474e551];
const [EXECUTE, WRITE, READ] = [1, 2, 4];
const ET_EXEC = 2;

/** Address of the first byte that is ours. */
const CONTENT_ADDRESS = FILE_ADDRESS + HEADER_BYTES + SEGMENTS * SEGMENT_BYTES;

/** Constants, which come before the code so that the code knows where they are. */
export class Constants {
  private bytes = new Uint8Array(0);

  /** Puts bytes in, aligned to 8, and gives their address. */
  add(piece: Uint8Array): number {
    const at = this.bytes.length;
    const grown = new Uint8Array(at + Math.ceil(piece.length / 8) * 8);
    grown.set(this.bytes);
    grown.set(piece, at);
    this.bytes = grown;
    return CONTENT_ADDRESS + at;
  }

  /** A string as C has it. */
  addText(text: string): number {
    return this.add(new TextEncoder().encode(`${text}\0`));
  }

  addWords(...words: readonly number[]): number {
    return this.add(new Uint8Array(BigInt64Array.from(words, BigInt).buffer));
  }

  get all(): Uint8Array {
    return this.bytes;
  }
}

/** The file: it starts with the first byte of `code`, and has `memory` zero bytes at MEMORY_ADDRESS. */
export function elfFile(machine: number, constants: Constants, code: Uint8Array, memory: number): Uint8Array {
  const start = HEADER_BYTES + SEGMENTS * SEGMENT_BYTES;
  const file = new Uint8Array(start + constants.all.length + code.length);
  file.set(constants.all, start);
  file.set(code, start + constants.all.length);
  const view = new DataView(file.buffer);
  const number64 = (at: number, value: number) => view.setBigUint64(at, BigInt(value), true);

  // magic; 64 bits, little-endian, version 1
  file.set([0x7f, 0x45, 0x4c, 0x46, 2, 1, 1]);
  view.setUint16(16, ET_EXEC, true);
  view.setUint16(18, machine, true);
  view.setUint32(20, 1, true);
  number64(24, CONTENT_ADDRESS + constants.all.length);
  number64(32, HEADER_BYTES);
  view.setUint16(52, HEADER_BYTES, true);
  view.setUint16(54, SEGMENT_BYTES, true);
  view.setUint16(56, SEGMENTS, true);

  const segment = (i: number, type: number, flags: number, address: number, inFile: number, inMemory: number) => {
    const at = HEADER_BYTES + i * SEGMENT_BYTES;
    view.setUint32(at, type, true);
    view.setUint32(at + 4, flags, true);
    number64(at + 16, address);
    number64(at + 24, address);
    number64(at + 32, inFile);
    number64(at + 40, inMemory);
    number64(at + 48, ALIGNMENT);
  };
  segment(0, PT_LOAD, READ | EXECUTE, FILE_ADDRESS, file.length, file.length);
  segment(1, PT_LOAD, READ | WRITE, MEMORY_ADDRESS, 0, memory);
  segment(2, PT_GNU_STACK, READ | WRITE, 0, 0, 0);
  return file;
}
