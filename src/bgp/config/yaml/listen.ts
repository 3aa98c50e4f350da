import { parseAddress } from '../../../net/mod.ts';
import type { IpAddress } from '../../../net/mod.ts';

/** `ADDRESS`, `ADDRESS:PORT` or `[ADDRESS]:PORT`. */
export function parseListen(value: unknown): { address: IpAddress; port?: number } | undefined {
  if (typeof value !== 'string') return undefined;
  const whole = parseAddress(value);
  if (whole) return { address: whole };
  const match = /^(?:\[([^\]]+)\]|([^:]+)):(\d{1,5})$/.exec(value);
  const address = match && parseAddress(match[1] ?? match[2]!);
  const port = Number(match?.[3]);
  return address && port > 0 && port < 65536 ? { address, port } : undefined;
}
