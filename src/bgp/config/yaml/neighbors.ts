/** Neighbours, groups and dynamic ranges: their schema, and how group and neighbour make one set of settings. */
import { z } from 'zod';
import { familyOf, isLinkLocal, parseAddress } from '../../../net/mod.ts';
import type { Family, IpAddress } from '../../../net/mod.ts';
import {
  address,
  asn,
  choice,
  field,
  flag,
  forms,
  integer,
  isMapping,
  list,
  prefix,
  seconds,
  section,
  string,
} from './fields.ts';
import type { FamilySettings, GracefulRestartMode, PeerSettings, RemoteAs, TimerConfig } from '../types.ts';

const remoteAs = forms((value): z.ZodType<RemoteAs> => {
  if (Array.isArray(value)) return list(asn, 'AS numbers');
  if (typeof value === 'string' && /^[a-z]/.test(value)) return choice('internal', 'external', 'any');
  return asn;
});

const holdTime = field('0, or 3 to 65535 seconds', (value) =>
  typeof value === 'number' && Number.isInteger(value) && (value === 0 || (value >= 3 && value <= 65535))
    ? value
    : undefined,
);

const timers = section({
  hold: holdTime.optional(),
  keepalive: seconds(0.1, 21845).optional(),
  connectRetry: seconds(0.1, 65535).optional(),
  delayOpen: seconds(0, 240).optional(),
  open: seconds(1, 3600).optional(),
  sendHold: forms((value): z.ZodType<number | 'auto'> =>
    value === 'auto' ? choice('auto') : seconds(0, 65535),
  ).optional(),
  idleHold: seconds(0.01, 3600).optional(),
  idleHoldMax: seconds(0.01, 86400).optional(),
});

const defaultTimers: TimerConfig = {
  hold: 90,
  connectRetry: 30,
  delayOpen: 0,
  open: 60,
  sendHold: 'auto',
  idleHold: 1,
  idleHoldMax: 60,
};

const limit = forms((value) =>
  isMapping(value)
    ? section({
        limit: integer(1, 0xffffffff, 'prefixes'),
        warnPercent: integer(1, 100).default(75),
        action: choice('warn', 'restart', 'shutdown').default('restart'),
        restartAfter: seconds(1, 86400).default(60),
      })
    : integer(1, 0xffffffff, 'prefixes').transform((n) => ({
        limit: n,
        warnPercent: 75,
        action: 'restart' as const,
        restartAfter: 60,
      })),
);

/** What can be said for all families of a neighbour, or for one of them. */
const perFamily = {
  import: string(100).optional(),
  export: string(100).optional(),
  nextHop: choice('auto', 'self', 'unchanged').optional(),
  maxPrefix: limit.optional(),
  maxPrefixOut: limit.optional(),
  defaultOriginate: flag.optional(),
};
const familySection = z.preprocess((value) => value ?? {}, section(perFamily));
const familyNames = { ipv4: 4, ipv6: 6 } as const;
type RawFamily = z.output<typeof familySection>;
type RawFamilies = { readonly [K in keyof typeof familyNames]?: RawFamily };

const families = forms((value): z.ZodType<RawFamilies> =>
  Array.isArray(value)
    ? list(choice('ipv4', 'ipv6'), 'ipv4, ipv6').transform((names) => {
        return Object.fromEntries(names.map((name) => [name, {}])) as RawFamilies;
      })
    : (section({ ipv4: familySection.optional(), ipv6: familySection.optional() }) as z.ZodType<RawFamilies>),
);

const localAs = forms((value) =>
  isMapping(value)
    ? section({ as: asn, replaceAs: flag.default(false), noPrepend: flag.default(false) })
    : asn.transform((as) => ({ as, replaceAs: false, noPrepend: false })),
);

const restart = forms((value): z.ZodType<GracefulRestartMode> =>
  typeof value === 'boolean' ? flag.transform((on) => (on ? 'on' : 'off')) : choice('on', 'helper', 'off'),
);

const password = field('a text of 1 to 80 bytes', (value) =>
  typeof value === 'string' && value !== '' && Buffer.byteLength(value) <= 80 ? value : undefined,
);

const common = {
  as: remoteAs.optional(),
  description: string(200).optional(),
  localAs: localAs.optional(),
  password: password.optional(),
  passwordFile: string(4096).optional(),
  tcpAo: field('nothing: TCP-AO is not built; use password (TCP MD5)', () => undefined).optional(),
  ttlSecurity: forms((value): z.ZodType<number> =>
    typeof value === 'boolean' ? flag.transform((on) => (on ? 1 : 0)) : integer(0, 254, 'hops'),
  ).optional(),
  multihop: forms((value): z.ZodType<number> =>
    typeof value === 'boolean' ? flag.transform((on) => (on ? 255 : 1)) : integer(1, 255, 'hops'),
  ).optional(),
  source: address.optional(),
  device: string(15).optional(),
  port: integer(1, 65535).optional(),
  passive: flag.optional(),
  enabled: flag.optional(),
  timers: timers.optional(),
  families: families.optional(),
  allowAsIn: forms((value): z.ZodType<number> =>
    typeof value === 'boolean' ? flag.transform((on) => (on ? 1 : 0)) : integer(0, 10),
  ).optional(),
  removePrivateAs: choice('all', 'replace').optional(),
  routeReflectorClient: flag.optional(),
  weight: integer(0, 65535).optional(),
  stripCommunities: list(choice('standard', 'extended', 'large'), 'standard, extended, large').optional(),
  gracefulRestart: restart.optional(),
  restartTime: integer(1, 4095, 'seconds').optional(),
  extendedMessages: flag.optional(),
  extendedNextHop: flag.optional(),
  honorGracefulShutdown: flag.optional(),
  enforceFirstAs: flag.optional(),
  drain: flag.optional(),
  ...perFamily,
};

/** `fe80::1%eth0` is short for an address and a device. */
const scopedAddress = field<{ address: IpAddress; device?: string }>(
  'an IPv4 or IPv6 address, a link-local one with its device: fe80::1%eth0',
  (value) => {
    if (typeof value !== 'string') return undefined;
    const [text = '', device] = value.split('%', 2);
    const parsed = parseAddress(text);
    if (!parsed || device === undefined) return parsed && { address: parsed };
    const scoped = familyOf(parsed) === 6 && isLinkLocal(parsed) && device !== '' && device.length <= 15;
    return scoped ? { address: parsed, device } : undefined;
  },
);

export const groupSchema = section(common);
export const neighborSchema = section({
  address: scopedAddress,
  name: string(100).optional(),
  group: string(100).optional(),
  ...common,
});
const { port: _port, passive: _passive, enabled: _enabled, ...ranged } = common;
export const dynamicSchema = section({
  range: prefix,
  name: string(100).optional(),
  group: string(100).optional(),
  limit: integer(1, 100_000, 'neighbours').default(100),
  ...ranged,
});

export type RawGroup = z.output<typeof groupSchema>;

/** The neighbour's own settings over those of its group; timers and families are merged one level deeper. */
export function mergeGroup(group: RawGroup | undefined, own: RawGroup): RawGroup {
  if (!group) return own;
  const present = Object.fromEntries(Object.entries(own).filter(([, value]) => value !== undefined));
  return {
    ...group,
    ...present,
    ...((group.timers ?? own.timers) && { timers: { ...group.timers, ...own.timers } }),
  };
}

/** Fills in the defaults. `family` is that of the neighbour's address and is what it carries unless told otherwise. */
export function settle(
  raw: RawGroup,
  family: Family,
  globals: { readonly asn: number; readonly gracefulRestart: GracefulRestartMode },
): PeerSettings {
  const local = raw.localAs ?? { as: globals.asn, replaceAs: false, noPrepend: false };
  const timers = Object.fromEntries(Object.entries(raw.timers ?? {}).filter(([, value]) => value !== undefined));
  const chosen: RawFamilies = raw.families ?? (family === 4 ? { ipv4: {} } : { ipv6: {} });
  const settled: { [F in Family]?: FamilySettings } = {};
  for (const [name, number] of Object.entries(familyNames)) {
    const one = chosen[name as keyof typeof familyNames];
    if (one) settled[number] = settleFamily(raw, one);
  }
  return {
    remoteAs: raw.as ?? 'any',
    localAs: local.as,
    localAsReplace: local.replaceAs,
    localAsNoPrepend: local.noPrepend,
    ttlSecurity: raw.ttlSecurity ?? 0,
    multihop: raw.multihop ?? 1,
    timers: { ...defaultTimers, ...timers },
    families: settled,
    allowAsIn: raw.allowAsIn ?? 0,
    reflectorClient: raw.routeReflectorClient ?? false,
    weight: raw.weight ?? 0,
    stripCommunities: raw.stripCommunities ?? [],
    gracefulRestart: raw.gracefulRestart ?? globals.gracefulRestart,
    extendedMessages: raw.extendedMessages ?? true,
    extendedNextHop: raw.extendedNextHop ?? false,
    honorGracefulShutdown: raw.honorGracefulShutdown ?? true,
    drain: raw.drain ?? false,
    ...(raw.enforceFirstAs !== undefined && { enforceFirstAs: raw.enforceFirstAs }),
    ...(raw.restartTime !== undefined && { restartTime: raw.restartTime }),
    ...(raw.description !== undefined && { description: raw.description }),
    ...(raw.password !== undefined && { password: raw.password }),
    ...(raw.source !== undefined && { source: raw.source }),
    ...(raw.device !== undefined && { device: raw.device }),
    ...(raw.removePrivateAs !== undefined && { removePrivateAs: raw.removePrivateAs }),
  };
}

function settleFamily(all: RawGroup, one: RawFamily): FamilySettings {
  const pick = <K extends keyof RawFamily>(key: K): RawFamily[K] => one[key] ?? all[key];
  const found = {
    import: pick('import'),
    export: pick('export'),
    maxPrefix: pick('maxPrefix'),
    maxPrefixOut: pick('maxPrefixOut'),
  };
  const present = Object.fromEntries(Object.entries(found).filter(([, value]) => value !== undefined));
  return { ...present, nextHop: pick('nextHop') ?? 'auto', defaultOriginate: pick('defaultOriginate') ?? false };
}
