/**
 * Reverse path filters and tunnels. A packet that came through a tunnel may be answered by another way: while a pool changes
 * its mode, and always where nodes differ in what is local. A strict filter would drop it, on the tunnel as on the uplink; so
 * it is made loose for as long as there is a tunnel that needs it, and then set back to what it was. That is noted in a file
 * that lives as long as the setting itself does: until the machine is booted anew.
 */
import { mkdirSync, readFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { z } from 'zod';
import { replaceFile } from '../../base/mod.ts';
import type { PlannedChange } from '../part.ts';
import type { Sysctls } from '../sysctl.ts';

const STRICT = '1';
const LOOSE = '2';
const pathOf = (device: string): string => `net/ipv4/conf/${device}/rp_filter`;
const shown = (device: string, value: string): string => `sysctl -w net.ipv4.conf.${device}.rp_filter=${value}`;

/** By device: what it stood at before, and the tunnels it is loose for. */
const schema = z.record(z.string(), z.object({ before: z.string().regex(/^[01]$/), users: z.array(z.string()) }));

export class ReversePaths {
  private readonly sysctls: Sysctls;
  private readonly file: string | undefined;
  private loosened: Map<string, { readonly before: string; readonly users: Set<string> }> | undefined;

  /** Without a file what is loose at the end stays so. */
  constructor(sysctls: Sysctls, file?: string) {
    this.sysctls = sysctls;
    this.file = file;
  }

  /** What makes these devices loose for the tunnel `user`, and sets back those that it needed before. */
  changes(user: string, devices: readonly string[]): PlannedChange[] {
    const all = this.sysctls.read(pathOf('all'));
    const loosen = devices.flatMap((device): PlannedChange[] => {
      const own = this.sysctls.read(pathOf(device));
      const noted = this.noted().get(device);
      // the kernel takes the larger of the two
      if (own !== undefined && own !== LOOSE && (own === STRICT || all === STRICT)) {
        const apply = () => {
          this.note(device, noted?.before ?? own, user);
          this.sysctls.write(pathOf(device), LOOSE);
        };
        return [{ text: shown(device, LOOSE), apply }];
      }
      if (own !== LOOSE || !noted || noted.users.has(user)) return [];
      return [
        { text: `# ${shown(device, LOOSE)}: for ${user}, too`, apply: () => this.note(device, noted.before, user) },
      ];
    });
    return [...loosen, ...this.release(user, devices)];
  }

  private release(user: string, except: readonly string[]): PlannedChange[] {
    return [...this.noted()].flatMap(([device, { before, users }]): PlannedChange[] => {
      if (except.includes(device) || !users.has(user)) return [];
      if (users.size > 1) return [{ text: `# ${device}: not for ${user}`, apply: () => this.forget(device, user) }];
      const apply = () => {
        // somebody may have changed it, or the device may be gone with its setting
        if (this.sysctls.read(pathOf(device)) === LOOSE) this.sysctls.write(pathOf(device), before);
        this.forget(device, user);
      };
      return [{ text: shown(device, before), apply }];
    });
  }

  private noted(): NonNullable<ReversePaths['loosened']> {
    return (this.loosened ??= new Map(
      Object.entries(this.read()).map(([device, { before, users }]) => [device, { before, users: new Set(users) }]),
    ));
  }

  /** One that is torn says nothing: the settings stay as they are. */
  private read(): z.output<typeof schema> {
    if (this.file === undefined) return {};
    try {
      return schema.parse(JSON.parse(readFileSync(this.file, 'utf8')));
    } catch {
      return {};
    }
  }

  private note(device: string, before: string, user: string): void {
    const users = this.noted().get(device)?.users ?? new Set();
    this.noted().set(device, { before, users: users.add(user) });
    this.save();
  }

  private forget(device: string, user: string): void {
    const users = this.noted().get(device)?.users;
    users?.delete(user);
    if (!users?.size) this.noted().delete(device);
    this.save();
  }

  private save(): void {
    if (this.file === undefined) return;
    const entries = [...this.noted()].map(([device, { before, users }]) => [device, { before, users: [...users] }]);
    try {
      mkdirSync(dirname(this.file), { recursive: true });
      // a boot resets what it is about
      replaceFile(this.file, JSON.stringify(Object.fromEntries(entries)), { mode: 0o600, outlives: 'kill' });
    } catch {
      // remembered by this process alone
    }
  }
}
