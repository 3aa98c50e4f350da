/** The announcer's control socket: its status, and the confirmation of what the guard holds. Root only. */
import { chmodSync, mkdirSync, rmSync } from 'node:fs';
import { dirname } from 'node:path';
import { GodwitError, messageOf } from '../base/mod.ts';
import type { Announcer, AnnouncerStatus } from './announcer.ts';

export const DEFAULT_SOCKET = '/run/godwit/gateway.sock';

/** Serves until disposed; throws when another announcer answers there. */
export async function serveGateway(announcer: Announcer, socket: string): Promise<Disposable> {
  if (await gatewayStatus(socket).then(Boolean, () => false)) {
    throw new GodwitError('gateway', `an announcer answers on ${socket} already`, {
      hint: 'give this one a socket of its own with --socket',
    });
  }
  mkdirSync(dirname(socket), { recursive: true });
  rmSync(socket, { force: true });
  const mask = process.umask(0o177);
  try {
    const server = Bun.serve({
      unix: socket,
      routes: {
        '/status': { GET: () => Response.json(announcer.status()) },
        '/confirm': { POST: () => Response.json({ confirmed: announcer.confirm() }) },
      },
    });
    chmodSync(socket, 0o600);
    return {
      [Symbol.dispose]: () => {
        void server.stop(true);
        rmSync(socket, { force: true });
      },
    };
  } finally {
    process.umask(mask);
  }
}

async function ask<T>(socket: string, path: string, method: string): Promise<T> {
  let response: Response;
  try {
    response = await fetch(`http://gateway${path}`, { unix: socket, method, signal: AbortSignal.timeout(10_000) });
  } catch (error) {
    throw new GodwitError('gateway', `no announcer answers on ${socket}: ${messageOf(error)}`, {
      hint: 'is it running (godwit gateway), and are you root? Another socket is given with --socket',
    });
  }
  if (!response.ok) throw new GodwitError('gateway', `the announcer on ${socket} answers ${response.status}`);
  return (await response.json()) as T;
}

export const gatewayStatus = (socket: string): Promise<AnnouncerStatus> => ask(socket, '/status', 'GET');
export const confirmWithdrawals = (socket: string): Promise<{ readonly confirmed: number }> =>
  ask(socket, '/confirm', 'POST');
