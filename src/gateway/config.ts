/**
 * The announcer's configuration: where ownership is read, what may be announced, and under `bgp` a speaker's
 * configuration with the gateways as its neighbours. What each gateway gets (communities, MED, only the nodes of its own
 * segment) is said by its export policy there.
 */
import { readFileSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import { parse, stringify } from 'yaml';
import { z } from 'zod';
import { err, GodwitError, messageOf, ok } from '../base/mod.ts';
import type { Result } from '../base/mod.ts';
import { parseConfig } from '../bgp/mod.ts';
import type { BgpConfig } from '../bgp/mod.ts';
import { parsePrefix } from '../net/mod.ts';
import type { Prefix } from '../net/mod.ts';
import type { AnnounceOptions } from './announce.ts';
import type { GuardOptions } from './guard.ts';

export type OwnershipSource = { readonly type: 'flannel'; readonly etcdPrefix: string } | { readonly type: 'calico' };

export interface GatewayConfig {
  readonly source: OwnershipSource;
  readonly announce: AnnounceOptions;
  readonly guard: GuardOptions;
  readonly bgp: BgpConfig;
  /** What was announced last, kept over a restart so that the guard knows what a first list must not lose. */
  readonly stateFile: string | undefined;
}

const prefixes = z.array(
  z.string().transform((text, context): Prefix => {
    const parsed = parsePrefix(text);
    if (parsed !== undefined) return parsed;
    context.addIssue({ code: 'custom', message: `${JSON.stringify(text)} is no prefix with all host bits zero` });
    return z.NEVER;
  }),
);
const names = z.array(z.string().min(1).max(253)).default([]);

const schema = z.strictObject({
  source: z
    .union([
      z.literal(['flannel', 'calico']).transform((type) => ({ type })),
      z
        .strictObject({ flannel: z.strictObject({ etcdPrefix: z.string().startsWith('/') }) })
        .transform(({ flannel }) => ({
          type: 'flannel' as const,
          ...flannel,
        })),
    ])
    .default({ type: 'flannel' }),
  announce: z.strictObject({ within: prefixes.min(1), exclude: names, drain: names }),
  guard: z
    .strictObject({
      minimumReady: z.int().min(0).default(1),
      maxWithdrawPercent: z.number().min(0).max(100).default(30),
      alwaysWithdraw: z.int().min(0).default(2),
    })
    .prefault({}),
  stateFile: z.string().startsWith('/').optional(),
  bgp: z.unknown(),
});

const DEFAULT_PREFIX = '/coreos.com/network';

/** Every problem as one line: setting, and what is wrong with it. */
export function parseGatewayConfig(
  text: string,
  readPassword: (path: string) => string | undefined = () => undefined,
): Result<GatewayConfig, readonly string[]> {
  let document: unknown;
  try {
    document = parse(text);
  } catch (error) {
    return err([messageOf(error).split('\n')[0]!]);
  }
  const parsed = schema.safeParse(document ?? {});
  if (!parsed.success)
    return err(parsed.error.issues.map((issue) => `${issue.path.join('.') || 'file'}: ${issue.message}`));
  const { source, announce, guard, stateFile } = parsed.data;
  const bgp = parseConfig(stringify(parsed.data.bgp ?? {}), readPassword);
  if (!bgp.ok) return err(bgp.error.map((line) => `bgp.${line.replace(/^\d+: /, '')}`));
  return ok({
    source: source.type === 'calico' ? { type: 'calico' } : { etcdPrefix: DEFAULT_PREFIX, ...source },
    announce: { within: announce.within, exclude: new Set(announce.exclude), drain: new Set(announce.drain) },
    ...{ guard, stateFile, bgp: bgp.value },
  });
}

/** Reads and checks a file; password files are relative to it. */
export function loadGatewayConfig(path: string): Result<GatewayConfig, GodwitError> {
  const read = (file: string) => readFileSync(resolve(dirname(path), file), 'utf8');
  try {
    const parsed = parseGatewayConfig(readFileSync(path, 'utf8'), (file) => {
      try {
        return read(file);
      } catch {
        return undefined;
      }
    });
    if (parsed.ok) return parsed;
    const lines = parsed.error.map((line) => `${path}: ${line}`).join('\n');
    return err(new GodwitError('config', lines, { hint: 'Nothing was changed; correct the file and try again.' }));
  } catch (error) {
    return err(new GodwitError('config', `read ${path}: ${messageOf(error)}`));
  }
}
