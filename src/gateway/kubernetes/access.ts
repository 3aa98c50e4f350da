/**
 * How the Kubernetes API is reached: by a kubeconfig, or by the service account of the pod that the program runs in. Secrets
 * are read from their files again for each request: tokens of service accounts are exchanged every hour.
 */
import { readFileSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import { parse } from 'yaml';
import { z } from 'zod';
import { GodwitError, messageOf } from '../../base/mod.ts';

export interface ApiAccess {
  /** `https://HOST:PORT`, perhaps with a path. */
  readonly server: string;
  /** Authority that signed the server's certificate, PEM; the system's authorities when undefined. */
  readonly ca: string | undefined;
  /** Throw GodwitError when a file cannot be read. */
  token(): string | undefined;
  clientCertificate(): { readonly cert: string; readonly key: string } | undefined;
}

const SERVICE_ACCOUNT = '/var/run/secrets/kubernetes.io/serviceaccount';

const named = <S extends z.ZodType>(key: string, value: S) =>
  z.array(z.looseObject({ name: z.string(), [key]: value }));
const cluster = z.looseObject({
  server: z.string(),
  'certificate-authority': z.string().optional(),
  'certificate-authority-data': z.string().optional(),
  'insecure-skip-tls-verify': z.boolean().optional(),
});
const user = z.looseObject({
  token: z.string().optional(),
  tokenFile: z.string().optional(),
  'client-certificate': z.string().optional(),
  'client-certificate-data': z.string().optional(),
  'client-key': z.string().optional(),
  'client-key-data': z.string().optional(),
});
const context = z.looseObject({ cluster: z.string(), user: z.string() });
const schema = z.looseObject({
  'current-context': z.string(),
  clusters: named('cluster', cluster),
  users: named('user', user),
  contexts: named('context', context),
});

/** The service account's of this pod. Throws GodwitError outside of one. */
export function inClusterAccess(
  env: Record<string, string | undefined> = process.env,
  directory = SERVICE_ACCOUNT,
): ApiAccess {
  const { KUBERNETES_SERVICE_HOST: host, KUBERNETES_SERVICE_PORT: port = '443' } = env;
  if (host === undefined) {
    throw new GodwitError('config', 'this is no pod of a Kubernetes cluster: KUBERNETES_SERVICE_HOST is not set', {
      hint: 'Give a kubeconfig: source: { kubernetes: { kubeconfig: FILE } }.',
    });
  }
  return {
    server: `https://${host.includes(':') ? `[${host}]` : host}:${port}`,
    ca: read(`${directory}/ca.crt`),
    token: () => read(`${directory}/token`).trim(),
    clientCertificate: () => undefined,
  };
}

/** The current context of a kubeconfig. Programs that fetch credentials (`exec`) are not run. Throws GodwitError. */
export function kubeconfigAccess(path: string): ApiAccess {
  const at = (what: string) => new GodwitError('config', `kubeconfig ${path}: ${what}`);
  let parsed: ReturnType<typeof schema.safeParse>;
  try {
    parsed = schema.safeParse(parse(read(path)));
  } catch (error) {
    throw error instanceof GodwitError ? error : at(messageOf(error).split('\n')[0]!);
  }
  if (!parsed.success) throw at(`${parsed.error.issues[0]!.path.join('.')}: ${parsed.error.issues[0]!.message}`);
  const { clusters, users, contexts, 'current-context': current } = parsed.data;
  const chosen = contexts.find(({ name }) => name === current)?.['context'] as z.output<typeof context> | undefined;
  const to = clusters.find(({ name }) => name === chosen?.cluster)?.['cluster'] as z.output<typeof cluster> | undefined;
  const who = users.find(({ name }) => name === chosen?.user)?.['user'] as z.output<typeof user> | undefined;
  if (!to) throw at(`context ${JSON.stringify(current)} leads to no cluster`);
  if (to['insecure-skip-tls-verify'] === true) throw at('insecure-skip-tls-verify: the server is always verified here');
  const secret = (data: string | undefined, file: string | undefined): string | undefined =>
    data !== undefined
      ? Buffer.from(data, 'base64').toString()
      : file === undefined
        ? undefined
        : read(resolve(dirname(path), file));
  return {
    server: to.server.replace(/\/$/, ''),
    ca: secret(to['certificate-authority-data'], to['certificate-authority']),
    token: () => who?.token ?? secret(undefined, who?.tokenFile)?.trim(),
    clientCertificate() {
      const cert = secret(who?.['client-certificate-data'], who?.['client-certificate']);
      const key = secret(who?.['client-key-data'], who?.['client-key']);
      return cert !== undefined && key !== undefined ? { cert, key } : undefined;
    },
  };
}

function read(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch (error) {
    throw new GodwitError('config', `read ${path}: ${messageOf(error)}`);
  }
}
