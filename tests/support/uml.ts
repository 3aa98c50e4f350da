import { chmodSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const MODULES = '/usr/lib/uml/modules';

/** A User Mode Linux that runs one script as root on the host's files, with modules the host's kernel may not have. */
export class UserModeLinux implements AsyncDisposable {
  private readonly directory = mkdtempSync(join(tmpdir(), 'godwit-uml-'));
  private readonly child: Bun.Subprocess;

  /**
   * Boots (some 4 s) and starts `script` under sh; `UML_DIR` in it is a directory both sides see. `namespace` is the
   * `ip netns` name to run in, for a tap device given with `tap`, which the guest has as vec0.
   */
  constructor(script: string, options: { modules: readonly string[]; namespace?: string; tap?: string }) {
    const version = readdirSync(MODULES)[0]!;
    const insert = options.modules.map((module) => `insmod ${MODULES}/${version}/kernel/${module}.ko || exit 1`);
    const init = [
      ...['#!/bin/sh', 'export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root'],
      ...['mount -t proc proc /proc', 'mount -t sysfs sys /sys', 'mount -t tmpfs tmpfs /run', 'mkdir -p /run/netns'],
      `export UML_DIR=${this.directory}`,
      ...['(', ...insert, 'ip link set lo up', '. "$UML_DIR/script"', ') > "$UML_DIR/output" 2>&1'],
      ...['echo $? > "$UML_DIR/status.new"', 'mv "$UML_DIR/status.new" "$UML_DIR/status"', 'poweroff -f'],
    ];
    writeFileSync(join(this.directory, 'script'), script);
    writeFileSync(join(this.directory, 'init'), `${init.join('\n')}\n`);
    chmodSync(join(this.directory, 'init'), 0o755);
    const command = ['linux.uml', 'mem=512M', 'root=/dev/root', 'rootfstype=hostfs', 'rootflags=/', 'rw', 'quiet'];
    command.push('con=null', 'con0=null,fd:2', `init=${join(this.directory, 'init')}`);
    if (options.tap !== undefined) command.push(`vec0:transport=tap,ifname=${options.tap},depth=128,gro=0`);
    const inside = options.namespace === undefined ? [] : ['ip', 'netns', 'exec', options.namespace];
    this.child = Bun.spawn([...inside, ...command], {
      stdio: ['ignore', 'ignore', 'ignore'],
    });
  }

  /** A file the guest wrote into UML_DIR; undefined while there is none. */
  read(name: string): string | undefined {
    try {
      return readFileSync(join(this.directory, name), 'utf8');
    } catch {
      return undefined;
    }
  }

  write(name: string, text: string): void {
    writeFileSync(join(this.directory, name), text);
  }

  /** Waits for the script's end; gives its exit status and all it printed. */
  async finished(timeoutMs = 60_000): Promise<{ status: number; output: string }> {
    const timer = setTimeout(() => this.child.kill('SIGKILL'), timeoutMs);
    await this.child.exited;
    clearTimeout(timer);
    return { status: Number(this.read('status') ?? -1), output: this.read('output') ?? '' };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.child.kill('SIGKILL');
    await this.child.exited;
    rmSync(this.directory, { recursive: true, force: true });
  }
}
