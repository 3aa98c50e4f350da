/** The attachments in memory, by key, address and host interface: what is taken and where the next search begins. */
import { createHash } from 'node:crypto';
import { attachmentKey, nextAddress } from '../ipam/mod.ts';
import type { Attachment, PoolView } from '../ipam/mod.ts';
import { familyOf } from '../net/mod.ts';
import type { Family, IpAddress } from '../net/mod.ts';

interface Identity {
  readonly container: string;
  readonly interface: string;
}

export const keyOf = (identity: Identity): string => attachmentKey(identity.container, identity.interface);

/** `veth` and the first eight hexadecimal digits. */
const nameOf = (text: string): string => `veth${createHash('sha256').update(text).digest('hex').slice(0, 8)}`;

export class AttachmentTable {
  private readonly byKey = new Map<string, Attachment>();
  /** Every address that may not be given, and the key that has it. */
  private readonly owners = new Map<string, string>();
  /** Host interface names in use, and by which key. */
  private readonly names = new Map<string, string>();
  private readonly lastGiven = new Map<Family, IpAddress>();
  private readonly hash: (text: string) => string;

  /** `hash` makes an interface name of a key. */
  constructor(hash: (text: string) => string = nameOf) {
    this.hash = hash;
  }

  get size(): number {
    return this.byKey.size;
  }

  list(): Attachment[] {
    return [...this.byKey.values()];
  }

  get(key: string): Attachment | undefined {
    return this.byKey.get(key);
  }

  hasName(hostInterface: string): boolean {
    return this.names.has(hostInterface);
  }

  /** The attachment that has this host interface. */
  byName(hostInterface: string): Attachment | undefined {
    return this.byKey.get(this.names.get(hostInterface) ?? '');
  }

  ownerOf(address: IpAddress): string | undefined {
    return this.owners.get(address);
  }

  add(attachment: Attachment): void {
    const key = keyOf(attachment);
    this.byKey.set(key, attachment);
    this.names.set(attachment.hostInterface, key);
    for (const { address } of attachment.addresses) {
      this.owners.set(address, key);
      if (attachment.type === 'bridge') this.lastGiven.set(familyOf(address), address);
    }
  }

  delete(attachment: Attachment): void {
    const key = keyOf(attachment);
    this.byKey.delete(key);
    if (this.names.get(attachment.hostInterface) === key) this.names.delete(attachment.hostInterface);
    for (const { address } of attachment.addresses) {
      if (this.owners.get(address) === key) this.owners.delete(address);
    }
  }

  /** The name of its key's hash, or the next one should another key have that. */
  hostInterface(key: string): string {
    for (let salt = 0; ; salt++) {
      const name = this.hash(salt === 0 ? key : `${key}#${salt}`);
      if ((this.names.get(name) ?? key) === key) return name;
    }
  }

  nextAddress(pool: PoolView): IpAddress | undefined {
    return nextAddress(pool, this.owners, this.lastGiven.get(familyOf(pool.subnet)));
  }
}
