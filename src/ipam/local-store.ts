/**
 * The attachments of this node on disk: one JSON file each, named after the host's end of the veth pair and written before
 * the pair is made. They describe kernel objects and mean nothing without them: a record whose link is not there, marked,
 * is dropped at the next start. So what must survive is a killed process, not a lost page cache (a power failure takes the
 * links away, too), and nothing is waited for to reach the disk.
 */
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import { messageOf, printable, replaceFile } from '../base/mod.ts';
import { parseAddress, parseMac, parsePrefix } from '../net/mod.ts';

const address = z.string().transform((text, context) => {
  const parsed = parseAddress(text);
  if (parsed !== undefined) return parsed;
  context.addIssue('not an IP address');
  return z.NEVER;
});
const prefix = z.string().transform((text, context) => {
  const parsed = parsePrefix(text);
  if (parsed !== undefined) return parsed;
  context.addIssue('not an IP prefix');
  return z.NEVER;
});
const mac = z.string().transform((text, context) => {
  const parsed = parseMac(text);
  if (parsed !== undefined) return parsed;
  context.addIssue('not a MAC address');
  return z.NEVER;
});

/** Names of host ends: a port of the bridge, or a routed pod's. */
export const isHostInterface = (text: string): boolean => /^(veth[0-9a-f]{8}|cali[0-9a-f]{11})$/.test(text);

const attachmentSchema = z.readonly(
  z.object({
    format: z.literal(1),
    type: z.enum(['bridge', 'routed']).default('bridge'),
    /** Name of the CNI network; empty when the record was rebuilt from a link that does not tell. */
    network: z.string(),
    container: z.string().min(1),
    /** The pod's end: `eth0`. */
    interface: z.string().min(1),
    hostInterface: z.string().refine(isHostInterface),
    /** Path of the pod's network namespace and its device and inode; empty when rebuilt. */
    namespace: z.string(),
    namespaceIdentity: z.string(),
    /** Empty for a routed pod. */
    bridge: z.string(),
    mtu: z.number(),
    /** What the configuration allows at most, whatever the network's MTU becomes. */
    mtuLimit: z.number().optional(),
    /** The IPAM handle its addresses were given to; absent when they are of the node's own subnet. */
    handle: z.string().optional(),
    mac,
    hostMac: mac,
    bridgeMac: mac,
    addresses: z.array(z.object({ address, prefixLength: z.int(), gateway: address, network: prefix })),
    routes: z.array(z.object({ destination: prefix, gateway: address })),
    /** What the runtime says of the pod (CNI_ARGS), where it does. */
    pod: z.object({ namespace: z.string(), name: z.string(), uid: z.string() }).optional(),
    /** Milliseconds since the Unix epoch. */
    createdAt: z.number(),
  }),
);
export type Attachment = z.output<typeof attachmentSchema>;

/** An attachment's identity: a container has one interface of a name. */
export const attachmentKey = (container: string, name: string): string => `${container}/${name}`;

export interface LoadedAttachments {
  readonly attachments: readonly Attachment[];
  /** Files that could not be read, with the reason; they are left alone until `remove`. */
  readonly faults: readonly { readonly hostInterface: string; readonly reason: string }[];
}

export class AttachmentStore {
  private readonly directory: string;

  /** Makes the directory (0700) when it is missing; throws what the file system says. */
  constructor(stateDirectory: string) {
    this.directory = join(stateDirectory, 'attachments');
    mkdirSync(this.directory, { recursive: true, mode: 0o700 });
  }

  private path(hostInterface: string): string {
    return join(this.directory, `${hostInterface}.json`);
  }

  load(): LoadedAttachments {
    const attachments: Attachment[] = [];
    const faults: { hostInterface: string; reason: string }[] = [];
    for (const file of readdirSync(this.directory).sort()) {
      const hostInterface = file.replace(/\.json$/, '');
      if (hostInterface === file || !isHostInterface(hostInterface)) {
        // a write that a kill interrupted
        if (file.endsWith('.new')) this.discard(join(this.directory, file));
        continue;
      }
      const parsed = this.read(hostInterface);
      if (typeof parsed === 'string') faults.push({ hostInterface, reason: parsed });
      else attachments.push(parsed);
    }
    return { attachments, faults };
  }

  private read(hostInterface: string): Attachment | string {
    try {
      const attachment = attachmentSchema.parse(JSON.parse(readFileSync(this.path(hostInterface), 'utf8')));
      return attachment.hostInterface === hostInterface ? attachment : 'it describes another interface';
    } catch (error) {
      return printable(messageOf(error));
    }
  }

  /** Throws what the file system says; the old record, if any, is then still whole. */
  save(attachment: Attachment): void {
    // a boot ends what it describes, and what a kill tears is read from the link's mark
    const options = { mode: 0o600, outlives: 'kill' } as const;
    replaceFile(this.path(attachment.hostInterface), JSON.stringify(attachment), options);
  }

  /** Gives false when the file system refuses: the record is then found again, and dropped, at the next start. */
  remove(hostInterface: string): boolean {
    return this.discard(this.path(hostInterface));
  }

  private discard(path: string): boolean {
    try {
      rmSync(path, { force: true });
      return true;
    } catch {
      return false;
    }
  }

  /** Whether records can be written now; else the reason. */
  probe(): string | undefined {
    const path = join(this.directory, 'probe.new');
    try {
      writeFileSync(path, 'x'.repeat(1024), { mode: 0o600 });
      return undefined;
    } catch (error) {
      return messageOf(error);
    } finally {
      this.discard(path);
    }
  }
}
