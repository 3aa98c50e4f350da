/** Calico's resources as values, for tests of what is made from them. */
import { parseStored } from '../../src/model/mod.ts';
import type { IpPoolSpec, Kind, Resource } from '../../src/model/mod.ts';

export function resource<K extends Kind>(kind: K, name: string, spec: object, annotations: object = {}): Resource<K> {
  const object = { kind, apiVersion: 'projectcalico.org/v3', metadata: { name, annotations }, spec };
  const parsed = parseStored(JSON.stringify(object), 1);
  if (!parsed.ok) throw new Error(JSON.stringify(parsed.error));
  return parsed.value as unknown as Resource<K>;
}

export const ipPool = (cidr: string, spec: object = {}): IpPoolSpec =>
  resource('IPPool', 'pool', { cidr, ...spec }).spec;

/** A node with its IPv4 address, as 192.168.1.2/24. */
export const nodeResource = (
  name: string,
  address: string,
  spec: object = {},
  annotations: object = {},
): Resource<'Node'> => resource('Node', name, { bgp: { ipv4Address: address }, ...spec }, annotations);
