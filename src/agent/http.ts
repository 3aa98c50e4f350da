/**
 * What the agent answers over HTTP. On its unix socket (root only): everything. On the address of `listen` (localhost
 * unless told otherwise): whether it lives, whether it is ready, and metrics. Only reading; nothing is changed this way.
 */
import { chmodSync, mkdirSync, rmSync } from 'node:fs';
import { dirname } from 'node:path';
import { messageOf, sleep } from '../base/mod.ts';
import type { Agent } from './agent.ts';

const OWNER_ONLY = 0o600;
const RETRY_MS = 5_000;
const IDLE_SECONDS = 10;

type Answer = (agent: Agent) => Response | Promise<Response>;

const json = (value: unknown, status = 200): Response => Response.json(value, { status });

const open: Readonly<Record<string, Answer>> = {
  // the event loop answers: that is what it says
  '/livez': () => new Response('ok\n'),
  '/readyz': (agent) => {
    const readiness = agent.readiness();
    return json(readiness, readiness.ready ? 200 : 503);
  },
  '/metrics': async (agent) => (await import('./metrics.ts')).answerMetrics(agent),
};
const local: Readonly<Record<string, Answer>> = { ...open, '/status': (agent) => json(agent.status()) };

function answer(
  agent: Agent,
  routes: Readonly<Record<string, Answer>>,
  request: Request,
): Response | Promise<Response> {
  if (request.method !== 'GET' && request.method !== 'HEAD') return new Response('only GET\n', { status: 405 });
  const { pathname } = new URL(request.url);
  const found = Object.hasOwn(routes, pathname) ? routes[pathname] : undefined;
  return found ? found(agent) : new Response(`there is ${Object.keys(routes).join(', ')}\n`, { status: 404 });
}

/** Serves the unix socket until disposed; throws what the file system says. */
export function serveSocket(agent: Agent): Disposable {
  const { socket } = agent.config;
  mkdirSync(dirname(socket), { recursive: true, mode: 0o755 });
  // the node's lock is ours: whoever listened here is gone
  rmSync(socket, { force: true });
  const mask = process.umask(0o777 & ~OWNER_ONLY);
  try {
    const server = Bun.serve({ unix: socket, fetch: (request) => answer(agent, local, request) });
    chmodSync(socket, OWNER_ONLY);
    return {
      [Symbol.dispose]() {
        void server.stop(true);
        rmSync(socket, { force: true });
      },
    };
  } finally {
    process.umask(mask);
  }
}

/** Serves the TCP address until aborted. A port that is taken is told and tried again; it stops nothing else. */
export async function serveAddress(agent: Agent, signal: AbortSignal): Promise<void> {
  const { listen } = agent.config;
  if (!listen) return;
  let told = '';
  while (!signal.aborted) {
    try {
      const server = agent.inside(() =>
        Bun.serve({
          ...{ hostname: listen.host, port: listen.port, idleTimeout: IDLE_SECONDS },
          fetch: (request) => answer(agent, open, request),
        }),
      );
      await new Promise((resolve) => {
        if (signal.aborted) resolve(undefined);
        else signal.addEventListener('abort', resolve, { once: true });
      });
      await server.stop(true);
      return;
    } catch (error) {
      const reason = messageOf(error);
      if (reason !== told)
        agent.log.warn({ ...listen, error: reason }, 'cannot listen for health and metrics; trying again');
      told = reason;
      await sleep(RETRY_MS, signal);
    }
  }
}
