/**
 * What a router of an interop test is to do, said once for all daemons: each daemon's module turns it into its own
 * configuration and reads the outcome back in one form.
 */
export type FamilyName = 'ipv4' | 'ipv6';

export interface Announcement {
  readonly prefix: string;
  /** `65001:100` */
  readonly communities?: readonly string[];
  /** `65001:1:2` */
  readonly large?: readonly string[];
}

export interface NeighborSpec {
  readonly address: string;
  readonly asn: number;
  /** The family of the address when absent. */
  readonly families?: readonly FamilyName[];
  readonly password?: string;
  /** RFC 5082, one hop. */
  readonly ttlSecurity?: boolean;
  readonly passive?: boolean;
  /** Our address on the session, when not the router's own; Godwit and GoBGP. */
  readonly local?: string;
  /** RFC 4456: the neighbour is our client. */
  readonly client?: boolean;
  readonly maxPrefix?: number;
  readonly holdTime?: number;
  /** RFC 8950: IPv4 routes over an IPv6 session, with IPv6 next hops. BIRD, FRR and Godwit. */
  readonly extendedNextHop?: boolean;
}

export interface RouterSpec {
  readonly asn: number;
  /** The BGP Identifier. */
  readonly id: string;
  /** Addresses on the shared segment. */
  readonly address4: string;
  readonly address6: string;
  readonly neighbors: readonly NeighborSpec[];
  readonly announce?: readonly Announcement[];
  /** Takes whoever comes from this prefix with this AS number. */
  readonly dynamic?: { readonly range: string; readonly asn: number; readonly password?: string };
  readonly gracefulRestart?: boolean;
  /** Writes its best routes into the namespace's kernel. */
  readonly kernel?: boolean;
}

/** A route as a daemon holds it. */
export interface HeldRoute {
  readonly prefix: string;
  readonly nextHop: string;
  readonly asPath: readonly number[];
  readonly communities: readonly string[];
  readonly large: readonly string[];
  readonly localPref?: number;
  /** RFC 4456; only BIRD, FRR and Godwit say. */
  readonly originatorId?: string;
  readonly clusterList?: readonly string[];
}

/** A running daemon. */
export interface Router extends AsyncDisposable {
  readonly kind: string;
  readonly spec: RouterSpec;
  /** Whether the session with this neighbour is Established. */
  established(address: string): boolean | Promise<boolean>;
  /** Its best route for the prefix. */
  route(prefix: string): HeldRoute | undefined | Promise<HeldRoute | undefined>;
  /** What it logged so far. */
  log(): string;
  /** SIGKILL, and nothing cleaned up: a crash. */
  kill(): Promise<void>;
  /** Starts again after `kill`, with the same configuration. */
  start(): Promise<void>;
}

export const familyOfAddress = (text: string): FamilyName => (text.includes(':') ? 'ipv6' : 'ipv4');
export const familiesOf = (n: NeighborSpec): readonly FamilyName[] => n.families ?? [familyOfAddress(n.address)];
