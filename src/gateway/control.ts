/** The announcer's control socket: its status, and the confirmation of what the guard holds. Root only. */
import { chmodSync, mkdirSync, rmSync } from 'node:fs';
import { dirname } from 'node:path';
import { z } from 'zod';
import { GodwitError, messageOf } from '../base/mod.ts';
import type { Announcer, AnnouncerStatus } from './announcer.ts';
import { peerFormats } from './peer-config.ts';

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
        '/print-config': { POST: async (request) => answer(announcer, await request.json()) },
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

const question = z.object({ gateway: z.string(), for: z.enum(peerFormats), announcer: z.string().optional() });
type Question = z.output<typeof question>;

/** The text, or why there is none. */
function answer(announcer: Announcer, asked: unknown): Response {
  const parsed = question.safeParse(asked);
  if (!parsed.success) return new Response('no such question', { status: 400 });
  const { gateway, for: format, announcer: address } = parsed.data;
  try {
    return Response.json({ text: announcer.printConfig(gateway, format, address) });
  } catch (error) {
    if (!(error instanceof GodwitError)) throw error;
    return Response.json({ error: error.message, hint: error.hint });
  }
}

async function ask<T>(socket: string, path: string, method: string, body?: unknown): Promise<T> {
  let response: Response;
  try {
    response = await fetch(`http://gateway${path}`, {
      ...{ unix: socket, method, signal: AbortSignal.timeout(10_000) },
      ...(body !== undefined && { body: JSON.stringify(body) }),
    });
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

/** What a running announcer prints for one of its gateways; throws GodwitError with its words. */
export async function printedConfig(socket: string, asked: Question): Promise<string> {
  const reply = await ask<{ text: string } | { error: string; hint?: string }>(socket, '/print-config', 'POST', asked);
  if ('text' in reply) return reply.text;
  throw new GodwitError('gateway', reply.error, reply.hint === undefined ? {} : { hint: reply.hint });
}
