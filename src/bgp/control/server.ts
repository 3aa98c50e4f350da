/**
 * The control socket: HTTP over a unix socket that only its owner may open. Tables are streamed, a slice of the table at a
 * time, so that showing a million routes does not hold up the speaker.
 */
import { chmodSync, mkdirSync, rmSync } from 'node:fs';
import { dirname } from 'node:path';
import { GodwitError, messageOf } from '../../base/mod.ts';
import { parseAddress, parsePrefix } from '../../net/mod.ts';
import type { Family, IpAddress } from '../../net/mod.ts';
import { parseNetwork } from '../config/yaml/mod.ts';
import type { ConfigDiff } from '../config/mod.ts';
import type { RouteQuery } from '../rib/mod.ts';
import { networkAttributes } from '../speaker/mod.ts';
import type { Peer, Speaker } from '../speaker/mod.ts';
import { attributesJson, neighborStatus, peerName, routeJson, summaryOf } from './views.ts';
import { metricsText } from './metrics.ts';

/** What a reload did, or would do. */
export interface ReloadReport {
  readonly applied: boolean;
  readonly neighbors: readonly {
    readonly neighbor: string;
    readonly what: string;
    readonly because: readonly string[];
  }[];
  readonly networks: ConfigDiff['networks'];
  readonly needsRestart: readonly string[];
  /** For neighbours whose import policy would change: accepted routes before and after. */
  readonly routes: readonly { readonly neighbor: string; readonly accepted: number; readonly wouldAccept: number }[];
}

/** What the daemon around the speaker can do. */
export interface ControlActions {
  /** Reads the configuration file again. `dryRun`: only says what would happen. */
  reload(dryRun: boolean, file?: string): Promise<ReloadReport>;
  /** Ends the process so that neighbours keep the routes. */
  restart(): void;
}

const ROUTES_PER_SLICE = 500;
/**
 * `monitor` may be silent for hours, and whoever reads a table may stop to think. The runtime's types know this option of
 * TCP servers only.
 */
const patient: object = { idleTimeout: 0 };

/** Serves until disposed of, then removes the socket. Throws when the path cannot be had. */
export function serveControl(path: string, speaker: Speaker, actions: ControlActions): Disposable {
  const control = new Control(speaker, actions);
  const umask = process.umask(0o177);
  let server: Bun.Server<undefined>;
  try {
    mkdirSync(dirname(path), { recursive: true, mode: 0o755 });
    server = Bun.serve({ unix: path, ...patient, fetch: (request) => control.handle(request) });
    chmodSync(path, 0o600);
  } catch (error) {
    throw new GodwitError('control', `control socket ${path}: ${messageOf(error)}`, {
      hint: 'Set `control` to a path this user may write to.',
    });
  } finally {
    process.umask(umask);
  }
  return {
    [Symbol.dispose]() {
      void server.stop(true);
      rmSync(path, { force: true });
    },
  };
}

/** A request that cannot be met; the text goes to the user. */
class Refused extends Error {
  readonly status: number;
  constructor(status: number, message: string) {
    super(message);
    this.status = status;
  }
}

class Control {
  private readonly speaker: Speaker;
  private readonly actions: ControlActions;

  constructor(speaker: Speaker, actions: ControlActions) {
    this.speaker = speaker;
    this.actions = actions;
  }

  async handle(request: Request): Promise<Response> {
    try {
      const url = new URL(request.url);
      if (request.method === 'GET') return await this.get(url);
      const body: unknown = await request.json().catch(() => ({}));
      return Response.json(await this.post(url.pathname, isRecord(body) ? body : {}));
    } catch (error) {
      const status = error instanceof Refused ? error.status : error instanceof GodwitError ? 409 : 500;
      const hint = error instanceof GodwitError ? error.hint : '';
      return Response.json({ error: messageOf(error), hint }, { status });
    }
  }

  private async get(url: URL): Promise<Response> {
    const { speaker } = this;
    switch (url.pathname) {
      case '/summary':
        return Response.json(summaryOf(speaker));
      case '/neighbors': {
        const one = url.searchParams.get('neighbor');
        const peers = one === null ? [...speaker.peers.values()] : [this.peer(one)];
        return Response.json(peers.map((peer) => neighborStatus(speaker, peer)));
      }
      case '/routes':
        return this.routes(url.searchParams);
      case '/advertised':
        return this.advertised(url.searchParams);
      case '/events':
        return this.events();
      case '/metrics':
        return new Response(await metricsText(speaker));
      default:
        throw new Refused(404, `there is no ${url.pathname}`);
    }
  }

  private post(path: string, body: Record<string, unknown>): object | Promise<object> {
    switch (path) {
      case '/announce': {
        const network = parseNetwork(body);
        if (!network.ok) throw new Refused(400, network.error);
        this.speaker.announce(networkAttributes(network.value));
        return {};
      }
      case '/withdraw': {
        const prefix = parsePrefix(text(body, 'prefix'));
        if (!prefix) throw new Refused(400, 'prefix is not an IP prefix');
        if (!this.speaker.withdraw(prefix)) throw new Refused(404, `${prefix} is not announced by this speaker`);
        return {};
      }
      case '/clear':
        return this.clear(this.peer(text(body, 'neighbor')), text(body, 'soft'));
      case '/shutdown': {
        this.peer(text(body, 'neighbor')).shutDown(text(body, 'reason'));
        return {};
      }
      case '/start': {
        this.peer(text(body, 'neighbor')).allow();
        return {};
      }
      case '/reload':
        return this.actions.reload(body['dryRun'] === true, text(body, 'file') || undefined);
      case '/restart':
        // after the answer is out
        setTimeout(() => this.actions.restart(), 10);
        return {};
      default:
        throw new Refused(404, `there is no ${path}`);
    }
  }

  private clear(peer: Peer, soft: string): object {
    const { session } = peer;
    if (soft === '') peer.reset();
    else if (!session?.active) throw new Refused(409, `${peer.address} has no session`);
    else {
      for (const family of session.families) {
        if (soft === 'in') this.speaker.rib.refreshIn(peer.id, family);
        else session.sendAgain(family);
      }
      this.speaker.wake();
    }
    return {};
  }

  /** By address or name. */
  private peer(nameOrAddress: string): Peer {
    const { peers } = this.speaker;
    const found =
      peers.get(parseAddress(nameOrAddress) ?? nameOrAddress) ??
      [...peers.values()].find((p) => p.config.name === nameOrAddress);
    if (!found) throw new Refused(404, `there is no neighbour ${nameOrAddress}`);
    return found;
  }

  private routes(parameters: URLSearchParams): Response {
    const received = parameters.get('received');
    const query: RouteQuery = {
      ...prefixQuery(parameters),
      ...(received !== null && { receivedFrom: this.peer(received).id }),
    };
    const names = new Map([...this.speaker.peers.values()].map((p) => [p.id, p.config.name]));
    const routes = this.speaker.rib.routes(query);
    return lines(routes, (route) => routeJson(route, (id) => names.get(id) ?? peerName(this.speaker, id)));
  }

  private advertised(parameters: URLSearchParams): Response {
    const peer = this.peer(parameters.get('neighbor') ?? '');
    const { family, ...query } = prefixQuery(parameters);
    const families = family ? [family] : (peer.session?.families ?? []);
    const { rib } = this.speaker;
    const routes = (function* () {
      for (const f of families) yield* rib.advertised(peer.id, f, query);
    })();
    return lines(routes, (route) => ({
      prefix: route.prefix,
      from: peerName(this.speaker, route.from),
      ...attributesJson(route.attributes),
    }));
  }

  private events(): Response {
    const { speaker } = this;
    let subscription: Disposable | undefined;
    const stream = new ReadableStream<string>({
      start(controller) {
        controller.enqueue(`${JSON.stringify({ at: Date.now(), type: 'monitor' })}\n`);
        subscription = speaker.on((event) => {
          // a reader that stopped reading loses events, not the speaker its memory
          if ((controller.desiredSize ?? 0) > -10_000) {
            controller.enqueue(`${JSON.stringify({ at: Date.now(), ...event })}\n`);
          }
        });
      },
      cancel: () => subscription?.[Symbol.dispose](),
    });
    return new Response(stream, { headers: { 'content-type': 'application/x-ndjson' } });
  }
}

/** One JSON value a line. */
function lines<T>(items: Iterator<T>, toJson: (item: T) => unknown): Response {
  const stream = new ReadableStream<string>({
    pull(controller) {
      let out = '';
      for (let i = 0; i < ROUTES_PER_SLICE; i++) {
        const { done, value } = items.next();
        if (done === true) {
          if (out !== '') controller.enqueue(out);
          controller.close();
          return;
        }
        out += `${JSON.stringify(toJson(value))}\n`;
      }
      controller.enqueue(out);
    },
    cancel: () => void items.return?.(),
  });
  return new Response(stream, { headers: { 'content-type': 'application/x-ndjson' } });
}

function prefixQuery(parameters: URLSearchParams): Pick<RouteQuery, 'prefix' | 'family' | 'match'> {
  const wanted = parameters.get('prefix');
  const family = parameters.get('family');
  const match = parameters.get('match');
  if (family !== null && family !== 'ipv4' && family !== 'ipv6') {
    throw new Refused(400, `${family} is not a family; allowed: ipv4, ipv6`);
  }
  const only: { family?: Family } = family === null ? {} : { family: family === 'ipv6' ? 6 : 4 };
  if (wanted === null) return only;
  const prefix = parsePrefix(wanted) ?? hostRoute(parseAddress(wanted));
  if (!prefix) throw new Refused(400, `${wanted} is neither a prefix nor an address`);
  const host = !wanted.includes('/');
  return {
    ...only,
    prefix,
    match: match === 'within' ? 'within' : match === 'covering' || host ? 'covering' : 'exact',
  };
}

const hostRoute = (address: IpAddress | undefined) =>
  address && parsePrefix(`${address}/${address.includes(':') ? 128 : 32}`);

const isRecord = (value: unknown): value is Record<string, unknown> => typeof value === 'object' && value !== null;

function text(body: Record<string, unknown>, key: string): string {
  const value = body[key];
  return typeof value === 'string' ? value : '';
}
