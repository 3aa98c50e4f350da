/**
 * Flannel's `vxlan` backend: what the network's configuration says of it, and what each node's lease says of its end.
 */
import { z } from 'zod';
import { err, ok, printable } from '../base/mod.ts';
import type { Result } from '../base/mod.ts';
import { parseMac } from '../net/mod.ts';
import type { Family, MacAddress } from '../net/mod.ts';
import type { LeaseAttributes } from './lease.ts';

export interface VxlanBackend {
  readonly vni: number;
  /** UDP port. */
  readonly port: number;
  /** Nodes on this node's own subnet are sent to without the tunnel. */
  readonly directRouting: boolean;
  /** Bytes of the uplink, where it is not to be asked; 0: ask. */
  readonly mtu: number;
}

/** The kernel's own choice of port, which Flannel keeps. */
const LINUX_PORT = 8472;

// `Learning` and `GBP` change nothing on the wire between nodes that know each other from their leases
const config = z.object({
  vni: z
    .number()
    .int()
    .min(1)
    .max(2 ** 24 - 1)
    .default(1),
  port: z.number().int().min(0).max(65_535).default(0),
  directrouting: z.boolean().default(false),
  mtu: z.number().int().min(0).max(65_535).default(0),
});

/** Reads the keys of `Backend`, in lower case; the error names the one at fault. */
export function parseVxlanBackend(backend: Readonly<Record<string, unknown>>): Result<VxlanBackend, string> {
  const parsed = config.safeParse(backend);
  if (!parsed.success) {
    const issue = parsed.error.issues[0];
    return err(printable(`Backend.${issue?.path.join('.') ?? ''}: ${issue?.message ?? 'invalid'}`));
  }
  const { vni, port, directrouting, mtu } = parsed.data;
  return ok({ vni, port: port === 0 ? LINUX_PORT : port, directRouting: directrouting, mtu });
}

/** A node's VXLAN end, as its lease has it. */
export interface VtepData {
  readonly vni: number;
  readonly mac: MacAddress;
}

const data = z.object({ VNI: z.number().int().default(1), VtepMAC: z.string() });

/** The end of that family; undefined when the lease names none that can be used. */
export function vtepOf(attributes: LeaseAttributes, family: Family): VtepData | undefined {
  if (attributes.backendType !== 'vxlan') return undefined;
  const parsed = data.safeParse(family === 4 ? attributes.backendData : attributes.backendV6Data);
  const mac = parsed.success ? parseMac(parsed.data.VtepMAC) : undefined;
  const group = mac !== undefined && (parseInt(mac.slice(0, 2), 16) & 1) === 1;
  return !parsed.success || mac === undefined || group ? undefined : { vni: parsed.data.VNI, mac };
}

/** The same, as Flannel writes it into `BackendData`. */
export const formatVtep = ({ vni, mac }: VtepData): unknown => ({ VNI: vni, VtepMAC: mac });
