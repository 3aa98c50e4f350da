/** bpf(2): maps and programs. What is attached to a device lives on without this process and is found again by its id. */
import { check, cstring, errno, Fd, isErrno, KernelError, NR, ptrOf, syscall } from '../sys/mod.ts';

const CMD = {
  MAP_CREATE: 0,
  MAP_LOOKUP: 1,
  MAP_UPDATE: 2,
  MAP_DELETE: 3,
  MAP_NEXT_KEY: 4,
  PROG_LOAD: 5,
  PROG_FD_BY_ID: 13,
  MAP_FD_BY_ID: 14,
  INFO_BY_FD: 15,
  MAP_LOOKUP_BATCH: 24,
} as const;
const BPF_MAP_TYPE_HASH = 1;
const BPF_PROG_TYPE_SCHED_CLS = 3;
const NAME_LENGTH = 15;
const LOG_BYTES = 1 << 18;
/** Entries read by one call; more than share a hash bucket. */
const BATCH = 512;

/** One `union bpf_attr`, filled field by field. */
class Attributes {
  readonly bytes: Uint8Array;
  private readonly view: DataView;

  constructor(length: number) {
    this.bytes = new Uint8Array(length);
    this.view = new DataView(this.bytes.buffer);
  }

  u32(offset: number, value: number): this {
    this.view.setUint32(offset, value, true);
    return this;
  }

  /** The buffer must stay referenced until the call returns. */
  pointer(offset: number, buffer: Uint8Array): this {
    this.view.setBigUint64(offset, BigInt(ptrOf(buffer)), true);
    return this;
  }

  name(offset: number, name: string): this {
    this.bytes.set(new TextEncoder().encode(name).subarray(0, NAME_LENGTH), offset);
    return this;
  }

  /** What the kernel wrote there. */
  at(offset: number): number {
    return this.view.getUint32(offset, true);
  }

  call(command: number): number {
    return syscall(NR.bpf, command, this.bytes, this.bytes.length);
  }
}

/** A hash map of fixed-size keys and values. */
export class BpfMap implements Disposable {
  readonly fd: Fd;
  private readonly keyBytes: number;
  private readonly valueBytes: number;

  constructor(fd: Fd, keyBytes: number, valueBytes: number) {
    this.fd = fd;
    this.keyBytes = keyBytes;
    this.valueBytes = valueBytes;
  }

  static create(name: string, keyBytes: number, valueBytes: number, entries: number): BpfMap {
    const a = new Attributes(72)
      .u32(0, BPF_MAP_TYPE_HASH)
      .u32(4, keyBytes)
      .u32(8, valueBytes)
      .u32(12, entries)
      .name(28, name);
    return new BpfMap(new Fd(check(`create BPF map ${name}`, a.call(CMD.MAP_CREATE))), keyBytes, valueBytes);
  }

  private attributes(key: Uint8Array): Attributes {
    return new Attributes(32).u32(0, this.fd.number).pointer(8, key);
  }

  /** Undefined when the key is not there. */
  get(key: Uint8Array): Uint8Array | undefined {
    const value = new Uint8Array(this.valueBytes);
    const result = this.attributes(key).pointer(16, value).call(CMD.MAP_LOOKUP);
    if (result === -errno.ENOENT) return undefined;
    check('look up in BPF map', result);
    return value;
  }

  set(key: Uint8Array, value: Uint8Array): void {
    check('update BPF map', this.attributes(key).pointer(16, value).call(CMD.MAP_UPDATE));
  }

  delete(key: Uint8Array): void {
    const result = this.attributes(key).call(CMD.MAP_DELETE);
    if (result !== -errno.ENOENT) check('delete from BPF map', result);
  }

  /** Every key with its value, hundreds a call. What is added or deleted meanwhile may be missed or be there. */
  entries(): [Uint8Array, Uint8Array][] {
    const { keyBytes, valueBytes } = this;
    const entries: [Uint8Array, Uint8Array][] = [];
    const place = new Uint8Array(Math.max(4, keyBytes));
    for (let first = true; ; first = false) {
      const [keys, values] = [new Uint8Array(BATCH * keyBytes), new Uint8Array(BATCH * valueBytes)];
      const a = new Attributes(56).pointer(8, place).pointer(16, keys).pointer(24, values);
      a.u32(32, BATCH).u32(36, this.fd.number);
      if (!first) a.pointer(0, place);
      const result = a.call(CMD.MAP_LOOKUP_BATCH);
      if (first && result === -errno.EINVAL) return this.entriesOneByOne();
      if (result !== -errno.ENOENT) check('read BPF map', result);
      const count = a.at(32);
      for (let i = 0; i < count; i++) {
        const of = (all: Uint8Array, size: number) => all.subarray(i * size, (i + 1) * size);
        entries.push([of(keys, keyBytes), of(values, valueBytes)]);
      }
      // the last ones, or none
      if (result === -errno.ENOENT) return entries;
    }
  }

  /** Before Linux 5.6. */
  private entriesOneByOne(): [Uint8Array, Uint8Array][] {
    const entries: [Uint8Array, Uint8Array][] = [];
    for (let before: Uint8Array | undefined; ;) {
      const next = new Uint8Array(this.keyBytes);
      const a = new Attributes(32).u32(0, this.fd.number).pointer(16, next);
      if (before) a.pointer(8, before);
      const result = a.call(CMD.MAP_NEXT_KEY);
      if (result === -errno.ENOENT) return entries;
      check('walk BPF map', result);
      const value = this.get(next);
      if (value) entries.push([next, value]);
      before = next;
    }
  }

  [Symbol.dispose](): void {
    this.fd.close();
  }
}

/** Loads a tc program. The verifier's words are asked for only when it refuses: keeping them costs most of the time. */
export function loadClassifier(name: string, instructions: Uint8Array): Fd {
  const license = cstring('GPL');
  const attributes = (log?: Uint8Array): Attributes => {
    const a = new Attributes(128).u32(0, BPF_PROG_TYPE_SCHED_CLS).u32(4, instructions.length / 8);
    a.pointer(8, instructions).pointer(16, license).name(48, name);
    return log ? a.u32(24, 1).u32(28, log.length).pointer(32, log) : a;
  };
  const loaded = attributes().call(CMD.PROG_LOAD);
  if (loaded >= 0) return new Fd(loaded);
  const log = new Uint8Array(LOG_BYTES);
  const again = attributes(log).call(CMD.PROG_LOAD);
  if (again >= 0) return new Fd(again);
  const words = new TextDecoder()
    .decode(log.subarray(0, log.indexOf(0)))
    .trim()
    .split('\n')
    .slice(-6)
    .join('; ');
  throw new KernelError(`load BPF program ${name}`, -again, words);
}

/** A loaded program by its id; undefined when it is gone. */
export function openProgram(programId: number): Fd | undefined {
  try {
    return new Fd(check(`BPF program ${programId}`, new Attributes(16).u32(0, programId).call(CMD.PROG_FD_BY_ID)));
  } catch (error) {
    if (isErrno(error, errno.ENOENT)) return undefined;
    throw error;
  }
}

// struct bpf_prog_info: nr_map_ids, map_ids, name
const PROG_INFO = { mapCount: 52, mapIds: 56, name: 64, length: 232 } as const;

function programInfo(program: Fd, programId: number, mapIds = new Uint32Array(8)): DataView {
  const info = new Uint8Array(PROG_INFO.length);
  const view = new DataView(info.buffer);
  view.setUint32(PROG_INFO.mapCount, mapIds.length, true);
  view.setBigUint64(PROG_INFO.mapIds, BigInt(ptrOf(mapIds)), true);
  const a = new Attributes(16).u32(0, program.number).u32(4, info.length).pointer(8, info);
  check(`info of BPF program ${programId}`, a.call(CMD.INFO_BY_FD));
  return view;
}

/** The name it was loaded with; undefined when it is gone. */
export function programName(programId: number): string | undefined {
  using program = openProgram(programId);
  if (!program) return undefined;
  const bytes = new Uint8Array(programInfo(program, programId).buffer, PROG_INFO.name, NAME_LENGTH + 1);
  return new TextDecoder().decode(bytes.subarray(0, bytes.indexOf(0)));
}

/** The maps a loaded program uses, by program id, all of that shape; undefined when the program is gone. */
export function mapsOfProgram(programId: number, keyBytes: number, valueBytes: number): BpfMap[] | undefined {
  using program = openProgram(programId);
  if (!program) return undefined;
  const ids = new Uint32Array(8);
  const count = programInfo(program, programId, ids).getUint32(PROG_INFO.mapCount, true);
  return Array.from(ids.subarray(0, count), (id) => {
    const fd = check(`BPF map ${id}`, new Attributes(16).u32(0, id).call(CMD.MAP_FD_BY_ID));
    return new BpfMap(new Fd(fd), keyBytes, valueBytes);
  });
}
