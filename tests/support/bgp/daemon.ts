/** A foreign daemon in a namespace: its files in a directory of its own, its process gone with the test's. */
import { spawnSync, type ChildProcess, spawn } from 'node:child_process';
import { mkdtempSync, openSync, readFileSync, rmSync, writeFileSync, closeSync, chmodSync, existsSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { until } from '../until.ts';
import type { HeldRoute, Router, RouterSpec } from './spec.ts';

export class Daemon implements AsyncDisposable {
  /** Configuration, sockets and logs. */
  readonly directory: string;
  private readonly namespace: string;
  private readonly children: ChildProcess[] = [];
  private readonly atExit = () => {
    this.slay();
    rmSync(this.directory, { recursive: true, force: true });
  };

  /** `namespace` is the name `ip netns` knows. */
  constructor(name: string, namespace: string) {
    this.namespace = namespace;
    this.directory = mkdtempSync(join(tmpdir(), `gw-${name}-`));
    chmodSync(this.directory, 0o777); // daemons give up being root before they open their sockets
    process.on('exit', this.atExit);
  }

  file(name: string): string {
    return join(this.directory, name);
  }

  write(name: string, text: string, mode = 0o600): string {
    writeFileSync(this.file(name), text, { mode });
    return this.file(name);
  }

  /** Starts a program in the foreground; what it says goes to `log()`. */
  spawn(command: readonly string[], environment: Record<string, string> = {}): void {
    const log = openSync(this.file('log'), 'a');
    const child = spawn('ip', ['netns', 'exec', this.namespace, ...command], {
      stdio: ['ignore', log, log],
      cwd: this.directory,
      env: { ...process.env, ...environment },
    });
    closeSync(log);
    this.children.push(child);
  }

  /** Runs its command line tool inside the namespace; undefined when that fails (the daemon may not be up yet). */
  ask(...command: string[]): string | undefined {
    const full = ['netns', 'exec', this.namespace, ...command];
    const result = spawnSync('ip', full, { encoding: 'utf8', timeout: 10_000, maxBuffer: 1 << 28 });
    return result.status === 0 ? result.stdout : undefined;
  }

  askJson(...command: string[]): unknown {
    try {
      return JSON.parse(this.ask(...command) ?? '');
    } catch {
      return undefined;
    }
  }

  log(): string {
    return existsSync(this.file('log')) ? readFileSync(this.file('log'), 'utf8') : '';
  }

  /** Whether a process of its has ended by itself. */
  get ended(): boolean {
    return this.children.some((child) => child.exitCode !== null || child.signalCode !== null);
  }

  /** Polls until the daemon answers; throws with its log when it ended or does not. */
  async ready(what: string, condition: () => boolean | Promise<boolean>): Promise<void> {
    try {
      await until(`${what} is up`, async () => (await condition()) || this.ended);
    } catch (error) {
      throw new Error(`${String(error)}\n${this.log()}`, { cause: error });
    }
    if (this.ended) throw new Error(`${what} ended:\n${this.log()}`);
  }

  /** SIGKILL to all its processes, and waits until they are gone. */
  async kill(): Promise<void> {
    await this.end('SIGKILL');
  }

  /** The same by SIGTERM. */
  async stop(): Promise<void> {
    await this.end('SIGTERM');
  }

  private async end(signal: 'SIGKILL' | 'SIGTERM'): Promise<void> {
    this.slay(signal);
    for (const child of this.children) {
      if (child.exitCode === null && child.signalCode === null) await new Promise((gone) => child.once('exit', gone));
    }
    this.children.length = 0;
  }

  private slay(signal: 'SIGKILL' | 'SIGTERM' = 'SIGKILL'): void {
    for (const child of this.children) if (child.exitCode === null) child.kill(signal);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.kill();
    process.off('exit', this.atExit);
    rmSync(this.directory, { recursive: true, force: true });
  }
}

/** A router that is a daemon in a namespace: what all kinds of them share. */
export abstract class DaemonRouter implements Router {
  abstract readonly kind: string;
  readonly spec: RouterSpec;
  readonly daemon: Daemon;

  protected constructor(spec: RouterSpec, daemon: Daemon) {
    this.spec = spec;
    this.daemon = daemon;
  }

  abstract established(address: string): boolean | Promise<boolean>;
  abstract route(prefix: string): HeldRoute | undefined | Promise<HeldRoute | undefined>;
  abstract start(): Promise<void>;

  log(): string {
    return this.daemon.log();
  }

  kill(): Promise<void> {
    return this.daemon.kill();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.daemon[Symbol.asyncDispose]();
  }
}
