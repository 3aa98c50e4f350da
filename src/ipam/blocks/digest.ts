/**
 * What routes and announcements need of a block: whose it is, and which of its addresses are with which node. A block is
 * kilobytes of JSON, most of it about single pods, and there may be 20,000 of them: the form that Calico and this program
 * write is read where it stands, without making a value of every number in it. Everything else (spaces, escapes, fields of
 * other programs, faults) goes the long way through `decodeBlock`; a test holds the two ways against each other.
 */
import { err, ok } from '../../base/mod.ts';
import type { Result } from '../../base/mod.ts';
import { prefixSize } from '../../net/mod.ts';
import type { Prefix } from '../../net/mod.ts';
import { decodeBlock, MAX_BLOCK } from './block.ts';
import type { Block } from './block.ts';

/** Ordinals in use are kept as characters of a text, the most compact list there is. */
export interface Digest {
  /** Whose the block says it is; undefined for nobody's, and for what is no node's. */
  readonly node: string | undefined;
  /** Ordinals with that node. */
  readonly own: string;
  /** Ordinals with other nodes. */
  readonly others: ReadonlyMap<string, string> | undefined;
}

/** The block of `cidr`; the error is `decodeBlock`'s. */
export function readDigest(text: string, cidr: Prefix): Result<Digest, string> {
  const scanned = scanDigest(text, cidr);
  if (scanned) return ok(scanned);
  const block = decodeBlock(text);
  return block.ok ? ok(digestOf(block.value)) : err(block.error);
}

/** The short way, for the usual form of what `decodeBlock` finds no fault with; undefined for all else. */
export const scanDigest = (text: string, cidr: Prefix): Digest | undefined => new Scanner(text).block(cidr);

function digestOf({ affinity, allocations, attributes }: Block): Digest {
  const node = affinity?.startsWith(HOST) ? affinity.slice(HOST.length) : undefined;
  const nodes = attributes.map(({ secondary }) => secondary['node']);
  return digest(
    node,
    nodes.map((user) => (user && user === node ? OWN : user)),
    allocations.map((index) => index ?? FREE),
  );
}

const HOST = 'host:';
/** In place of the name of the block's own node. */
const OWN = Symbol('own');
const FREE = -1;
type User = string | typeof OWN | undefined;

/** `users` are the nodes of the attributes, `allocations` indexes into them. */
function digest(node: string | undefined, users: readonly User[], allocations: ArrayLike<number>): Digest {
  const own: number[] = [];
  let others: Map<string, number[]> | undefined;
  for (let ordinal = 0; ordinal < allocations.length; ordinal++) {
    const index = allocations[ordinal]!;
    const user = index === FREE ? undefined : users[index];
    if (user === OWN) own.push(ordinal);
    else if (user !== undefined && user !== '') {
      others ??= new Map();
      const ordinals = others.get(user);
      if (ordinals) ordinals.push(ordinal);
      else others.set(user, [ordinal]);
    }
  }
  const characters = (ordinals: readonly number[]) => String.fromCharCode(...ordinals);
  return {
    node,
    own: characters(own),
    others: others && new Map([...others].map(([user, ordinals]) => [user, characters(ordinals)])),
  };
}

const QUOTE = 34;
const COMMA = 44;
const ZERO = 48;
const NINE = 57;
const OPEN_LIST = 91;
const CLOSE_LIST = 93;
const OPEN = 123;
const CLOSE = 125;
/** Longer texts, and those with any of this, are for the long way. */
const MAX_LENGTH = 1_000_000;
// oxlint-disable-next-line no-control-regex -- what JSON forbids inside of strings
const UNUSUAL = /[\u0000-\u001f\\]|"__proto__"/;

/** For each ordinal the attribute's index or FREE, and whether it is in the list of free ones. */
const allocations = new Int16Array(MAX_BLOCK);
const unallocated = new Uint8Array(MAX_BLOCK);

/** Reads one block. Anything unexpected ends it: every method then gives false or undefined, and nobody goes on. */
class Scanner {
  private readonly text: string;
  private at = 0;
  /** The value of the number read last. */
  private number = 0;
  private node: string | undefined;
  private readonly users: User[] = [];
  private allocated = -1;
  private free = -1;

  constructor(text: string) {
    this.text = text;
  }

  block(cidr: Prefix): Digest | undefined {
    const { text } = this;
    if (text.length > MAX_LENGTH || UNUSUAL.test(text)) return undefined;
    const size = prefixSize(cidr);
    if (size > BigInt(MAX_BLOCK)) return undefined;
    const count = Number(size);
    const seen = new Set<string>();
    const good = this.members((key) => {
      if (seen.has(key)) return false;
      seen.add(key);
      switch (key) {
        case 'cidr':
          return this.literal(`"${cidr}"`);
        case 'affinity':
          return this.affinity();
        case 'affinity_claim_time':
          return this.textOrNull();
        case 'allocations':
          return this.allocations(count);
        case 'unallocated':
          return this.unallocated(count);
        case 'attributes':
          // compared with the block's own node, which comes first in every known form
          return seen.has('affinity') && this.list(() => this.attribute());
        case 'sequenceNumber':
          return this.digits();
        case 'sequenceNumberForAllocation':
          return this.members((ordinal) => /^\d{1,4}$/.test(ordinal) && this.digits());
        case 'deleted':
          return this.literal('false');
        default:
          return false;
      }
    });
    const whole = good && this.at === text.length && seen.has('cidr') && seen.has('attributes');
    if (!whole || this.allocated !== count || this.free < 0 || !this.isPartition(count)) return undefined;
    return digest(this.node, this.users, allocations.subarray(0, count));
  }

  /** Every address is exactly one of free and given, and every index is right. */
  private isPartition(count: number): boolean {
    for (let ordinal = 0; ordinal < count; ordinal++) {
      const index = allocations[ordinal]!;
      if (index >= this.users.length || (index === FREE) !== (unallocated[ordinal] === 1)) return false;
    }
    return true;
  }

  private affinity(): boolean {
    if (this.literal('null')) return true;
    const owner = this.string();
    if (owner === undefined) return false;
    if (owner.startsWith(HOST)) this.node = detached(owner.slice(HOST.length));
    return true;
  }

  private allocations(count: number): boolean {
    this.allocated = 0;
    return this.list(() => {
      if (this.allocated >= count) return false;
      if (this.literal('null')) allocations[this.allocated++] = FREE;
      else if (this.digits() && this.number < MAX_BLOCK) allocations[this.allocated++] = this.number;
      else return false;
      return true;
    });
  }

  private unallocated(count: number): boolean {
    unallocated.fill(0, 0, count);
    this.free = 0;
    return this.list(() => {
      if (!this.digits() || this.number >= count || unallocated[this.number] === 1) return false;
      unallocated[this.number] = 1;
      this.free++;
      return true;
    });
  }

  private attribute(): boolean {
    const { users } = this;
    users.push(undefined);
    let maps = 0;
    return this.members((key) => {
      if (key === 'handle_id' || key === 'releasedAt') return this.textOrNull();
      if (key !== 'secondary' || ++maps > 1) return false;
      return this.literal('null') || this.members((field) => (field === 'node' ? this.user() : this.skipString()));
    });
  }

  /** The node of the attribute that is being read. */
  private user(): boolean {
    const { node, users } = this;
    if (users.at(-1) !== undefined) return false;
    let user: User = OWN;
    if (!node || !this.literal(`"${node}"`)) {
      const other = this.string();
      if (other === undefined) return false;
      user = detached(other);
    }
    users[users.length - 1] = user;
    return true;
  }

  // ------------------------------------------------------------------------------------------------------ JSON

  private members(take: (key: string) => boolean): boolean {
    if (!this.skip(OPEN)) return false;
    if (this.skip(CLOSE)) return true;
    do {
      const key = this.string();
      if (key === undefined || !this.literal(':') || !take(key)) return false;
    } while (this.skip(COMMA));
    return this.skip(CLOSE);
  }

  private list(take: () => boolean): boolean {
    if (!this.skip(OPEN_LIST)) return false;
    if (this.skip(CLOSE_LIST)) return true;
    do if (!take()) return false;
    while (this.skip(COMMA));
    return this.skip(CLOSE_LIST);
  }

  private textOrNull(): boolean {
    return this.literal('null') || this.skipString();
  }

  private string(): string | undefined {
    const start = this.at + 1;
    return this.skipString() ? this.text.slice(start, this.at - 1) : undefined;
  }

  private skipString(): boolean {
    if (!this.skip(QUOTE)) return false;
    // there are no escapes
    const end = this.text.indexOf('"', this.at);
    this.at = end + 1;
    return end >= 0;
  }

  /** A number without sign, fraction or exponent; it may be too large for `number` to be exact. */
  private digits(): boolean {
    const { text } = this;
    const start = this.at;
    let value = 0;
    let code = text.charCodeAt(start);
    for (; code >= ZERO && code <= NINE; code = text.charCodeAt(++this.at)) value = 10 * value + (code - ZERO);
    this.number = value;
    return this.at > start && (text.charCodeAt(start) !== ZERO || this.at === start + 1);
  }

  private skip(code: number): boolean {
    if (this.text.charCodeAt(this.at) !== code) return false;
    this.at++;
    return true;
  }

  private literal(word: string): boolean {
    if (!this.text.startsWith(word, this.at)) return false;
    this.at += word.length;
    return true;
  }
}

/** A text of its own: a part of another would keep all of that in memory. */
const detached = (text: string): string => Buffer.from(text).toString();
