/** Prefixes that the configuration or an operator announces, as routes. */
import { addressBytes } from '../../net/mod.ts';
import type { NetworkConfig } from '../config/mod.ts';
import { parseCommunity } from '../policy/mod.ts';
import type { LocalRoute } from '../rib/mod.ts';

export function networkAttributes(network: NetworkConfig): LocalRoute {
  const { prefix, nextHop, med, localPref, communities, prepend } = network;
  return {
    prefix,
    attributes: {
      ...communitiesOf(communities),
      ...(nextHop !== undefined && { nextHop: { address: addressBytes(nextHop), linkLocal: undefined } }),
      ...(med !== undefined && { med }),
      ...(localPref !== undefined && { localPref }),
      ...(prepend.length > 0 && { asPath: [{ type: 2 as const, asns: prepend }] }),
    },
  };
}

/** Told apart by their form; what is none was refused when the configuration was read. */
function communitiesOf(texts: readonly string[]) {
  const words = { standard: [] as number[], extended: [] as number[], large: [] as number[] };
  for (const text of texts) {
    const parsed = parseCommunity(text);
    if (parsed.ok) words[parsed.value.kind].push(...parsed.value.words);
  }
  return {
    communities: words.standard,
    extendedCommunities: words.extended,
    largeCommunities: words.large,
  };
}
