import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';

const root = resolve(import.meta.dir, '../..');

export interface CommandResult {
  readonly status: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** The command line as a user calls it, from source; or GODWIT_TEST_PROGRAM, an executable that was built. */
export const godwit: readonly string[] = process.env['GODWIT_TEST_PROGRAM']
  ? [process.env['GODWIT_TEST_PROGRAM']]
  : [join(root, 'bin/godwit')];

export function startCommand(...args: string[]): Bun.Subprocess<'ignore', 'pipe', 'pipe'> {
  return Bun.spawn([...godwit, ...args], { stdio: ['ignore', 'pipe', 'pipe'], cwd: root });
}

/** Before the time of any test file is over: what hangs is to say where. */
const PATIENCE_MS = 180_000;

export async function runCommand(...args: string[]): Promise<CommandResult> {
  const child = startCommand(...args);
  let late = false;
  const timer = setTimeout(() => {
    late = true;
    child.kill('SIGKILL');
  }, PATIENCE_MS);
  const [stdout, stderr, status] = await Promise.all([child.stdout.text(), child.stderr.text(), child.exited]);
  clearTimeout(timer);
  if (late) throw new Error(`godwit ${args.join(' ')} did not end within ${PATIENCE_MS} ms:\n${stderr.slice(-4000)}`);
  return { status, stdout, stderr };
}

/** Names of labs of one test file, taken down when its process ends, however it ends short of SIGKILL. */
export class TestLabs implements AsyncDisposable {
  readonly directory = mkdtempSync(join(tmpdir(), 'godwit-lab-test-'));
  private readonly names = new Set<string>();

  /** A lab's name that no other run uses. */
  name(short: string): string {
    const name = `gw${process.pid}${short}`;
    this.names.add(name);
    return name;
  }

  file(name: string, text: string): string {
    const path = join(this.directory, name);
    writeFileSync(path, text);
    return path;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const name of this.names) if (leftovers(name).length > 0) await runCommand('lab', 'down', name, '--now');
    rmSync(this.directory, { recursive: true, force: true });
  }
}

/** Whatever there is of a lab: namespaces, mounts, directories, processes. */
export function leftovers(name: string): string[] {
  const found: string[] = [];
  const list = (directory: string) => (existsSync(directory) ? readdirSync(directory) : []);
  for (const file of list('/run/netns')) if (file.startsWith(`${name}-`)) found.push(`/run/netns/${file}`);
  for (const file of list('/run/godwit/lab')) {
    if (file === name || file.startsWith(`.${name}.`)) found.push(`/run/godwit/lab/${file}`);
  }
  for (const line of readFileSync('/proc/self/mounts', 'utf8').split('\n')) {
    if (line.includes(`/${name}-`) || line.includes(`/${name}/`)) found.push(`mount ${line}`);
  }
  for (const pid of readdirSync('/proc').filter((entry) => /^\d+$/.test(entry))) {
    try {
      const command = readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ');
      if (command.includes(`/lab/${name}/`)) found.push(`process ${pid}: ${command}`);
    } catch {
      // it ended
    }
  }
  return found;
}
