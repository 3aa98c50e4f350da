/** What ADD prints: the attachment in the form of the caller's version, after what plugins before us in the chain made. */
import { familyOf } from '../net/mod.ts';
import type { Attachment } from '../ipam/mod.ts';
import type { NetworkConfig, PreviousResult } from './config.ts';
import { isAtLeast } from './versions.ts';
import type { CniVersion } from './versions.ts';

interface Interface {
  readonly name: string;
  readonly mac?: string | undefined;
  readonly mtu?: number;
  readonly sandbox?: string | undefined;
}

function interfaces(attachment: Attachment, namespace: string, version: CniVersion): Interface[] {
  const mtu = isAtLeast(version, '1.1.0') ? { mtu: attachment.mtu } : {};
  const bridge = attachment.type === 'bridge' ? [{ name: attachment.bridge, mac: attachment.bridgeMac, ...mtu }] : [];
  return [
    ...bridge,
    { name: attachment.hostInterface, mac: attachment.hostMac, ...mtu },
    { name: attachment.interface, mac: attachment.mac, ...mtu, sandbox: namespace },
  ];
}

/** Before 1.0.0 an address tells its family in so many words. */
function withFamily(ip: { readonly address: string }, version: CniVersion): Record<string, unknown> {
  return isAtLeast(version, '1.0.0') ? { ...ip } : { version: ip.address.includes(':') ? '6' : '4', ...ip };
}

export function formatResult(attachment: Attachment, config: NetworkConfig, namespace: string): string {
  const version = config.cniVersion;
  const before: PreviousResult = config.prevResult ?? {};
  const made = interfaces(attachment, namespace, version);
  const podInterface = (before.interfaces?.length ?? 0) + made.length - 1;
  const ips = attachment.addresses.map(({ address, prefixLength, gateway }) => {
    return { interface: podInterface, address: `${address}/${prefixLength}`, gateway };
  });
  const routes = attachment.routes.map(({ destination, gateway }) => ({ dst: destination, gw: gateway }));
  const result = {
    ...before,
    cniVersion: version,
    interfaces: [...(before.interfaces ?? []), ...made],
    ips: [...(before.ips ?? []), ...ips].map((ip) => withFamily(ip, version)),
    routes: [...(before.routes ?? []), ...routes],
    dns: config.dns ?? before.dns ?? {},
  };
  return `${JSON.stringify(result)}\n`;
}

/** What the previous result of a CHECK lacks of the attachment, in words. */
export function missingInResult(attachment: Attachment, previous: PreviousResult): string[] {
  const addresses = new Set(previous.ips?.map((ip) => ip.address));
  const faults: string[] = [];
  for (const { address, prefixLength } of attachment.addresses) {
    const text = `${address}/${prefixLength}`;
    if (!addresses.has(text)) faults.push(`prevResult lacks the IPv${familyOf(address)} address ${text}`);
  }
  if (!previous.interfaces?.some((i) => i.name === attachment.interface && (i.sandbox ?? '') !== '')) {
    faults.push(`prevResult lacks the interface ${attachment.interface}`);
  }
  return faults;
}
