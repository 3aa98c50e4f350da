/**
 * A real kube-apiserver on loopback, with tokens and RBAC, for tests. Debian has no package of it: the executable is the
 * one that `GODWIT_KUBE_APISERVER` names, or `kube-apiserver` on the PATH.
 */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Authority } from './certificates.ts';
import { until } from './netns.ts';
import { freePort } from './ports.ts';

export const kubeApiserver = process.env['GODWIT_KUBE_APISERVER'] ?? 'kube-apiserver';
const ADMIN = 'the-administrator';

export class ApiServer implements AsyncDisposable {
  readonly directory = mkdtempSync(join(tmpdir(), 'godwit-apiserver-'));
  readonly port: number;
  private readonly etcd: string;
  private readonly authority: Authority;
  private readonly arguments: readonly string[];
  private child: Bun.Subprocess | undefined;

  /** `etcd` is an etcd's HTTP endpoint. */
  static async start(etcd: string, authority: Authority): Promise<ApiServer> {
    const server = new ApiServer(etcd, authority, freePort());
    await server.start();
    return server;
  }

  private constructor(etcd: string, authority: Authority, port: number) {
    this.etcd = etcd;
    this.authority = authority;
    this.port = port;
    const { cert, key } = authority.sign('apiserver');
    const accounts = authority.sign('service-accounts');
    const tokens = join(this.directory, 'tokens.csv');
    writeFileSync(tokens, `${ADMIN},admin,admin,"system:masters"\n`);
    this.arguments = [
      ...['--etcd-servers', this.etcd, '--bind-address', '127.0.0.1', '--advertise-address', '192.0.2.1'],
      ...['--service-cluster-ip-range', '10.96.0.0/16', '--authorization-mode', 'RBAC', '--token-auth-file', tokens],
      ...['--tls-cert-file', cert, '--tls-private-key-file', key, '--service-account-issuer', 'https://godwit.test'],
      ...['--service-account-key-file', accounts.cert, '--service-account-signing-key-file', accounts.key],
    ];
  }

  get url(): string {
    return `https://127.0.0.1:${this.port}`;
  }

  /** `port` is another one for this life, where clients do not look for it. */
  async start(port = this.port): Promise<void> {
    const log = Bun.file(join(this.directory, 'log'));
    this.child = Bun.spawn([kubeApiserver, ...this.arguments, '--secure-port', String(port)], {
      stdio: ['ignore', log, log],
    });
    const ready = async () => {
      if (this.child?.exitCode !== null) throw new Error(`kube-apiserver ended:\n${(await log.text()).slice(-2000)}`);
      return this.ask('GET', '/readyz', undefined, port).then(
        () => true,
        () => false,
      );
    };
    await until('kube-apiserver is ready', ready, 60_000);
  }

  /** At once, without a chance to end watches in good order. */
  async kill(): Promise<void> {
    this.child?.kill('SIGKILL');
    await this.child?.exited;
  }

  /** Asks as the administrator. Throws with the server's words when it refuses. */
  async ask(method: string, path: string, body?: object, port = this.port): Promise<unknown> {
    const patch = method === 'PATCH' ? 'application/merge-patch+json' : 'application/json';
    const response = await fetch(`https://127.0.0.1:${port}${path}`, {
      method,
      headers: { authorization: `Bearer ${ADMIN}`, 'content-type': patch },
      ...(body && { body: JSON.stringify(body) }),
      tls: { ca: await Bun.file(this.authority.ca.cert).text() },
      signal: AbortSignal.timeout(10_000),
    });
    const text = await response.text();
    if (!response.ok) throw new Error(`${method} ${path}: ${response.status} ${text}`);
    return text.startsWith('{') ? JSON.parse(text) : text;
  }

  /** A token of the service account, as pods get them. */
  async token(namespace: string, account: string): Promise<string> {
    const path = `/api/v1/namespaces/${namespace}/serviceaccounts/${account}/token`;
    const { status } = (await this.ask('POST', path, { spec: { expirationSeconds: 600 } })) as {
      status: { token: string };
    };
    return status.token;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.kill();
    rmSync(this.directory, { recursive: true, force: true });
  }
}
