/**
 * List, then watch, for ever: the objects of one kind from the Kubernetes API, as updates. Bookmarks keep the place; when
 * the place is gone (410), or the connection, everything is listed again and the difference told.
 */
import { Backoff, messageOf, sleep, systemClock } from '../../base/mod.ts';
import type { Clock } from '../../base/mod.ts';
import type { ApiAccess } from './access.ts';

export interface ApiObject {
  readonly metadata: { readonly name: string; readonly resourceVersion: string };
}
export type ApiUpdate =
  | { readonly type: 'put'; readonly name: string; readonly object: ApiObject }
  | { readonly type: 'delete'; readonly name: string }
  /** The picture is complete and fresh. Told after each list, and when a watch is taken up again after `stale`. */
  | { readonly type: 'inSync' }
  | { readonly type: 'stale'; readonly reason: string };

/** The server says 410: what was asked for is too old. */
class Gone extends Error {}

const PAGE = 500;
/** A watch ends by itself after this many seconds, and is taken for dead when it does not. */
const WATCH_SECONDS = 300;
const GRACE_SECONDS = 30;
/** One that ended earlier had no time to come to its end. */
const LIVED_MS = 1000;
const REQUEST_MS = 30_000;
/** A line of a watch that is longer is none. */
const MAX_LINE = 16 * 2 ** 20;

export interface FollowOptions {
  readonly backoff?: Backoff;
  readonly clock?: Clock;
}

/** `path` is as `/api/v1/nodes`. */
export async function* followApi(
  access: ApiAccess,
  path: string,
  signal: AbortSignal,
  { backoff = new Backoff(200, 10_000), clock = systemClock }: FollowOptions = {},
): AsyncGenerator<ApiUpdate> {
  /** What was told, by name, and its version. */
  const told = new Map<string, string>();
  let place: string | undefined;
  let stale = false;
  while (!signal.aborted) {
    let failure: string | undefined;
    let watching = clock.now();
    try {
      if (place === undefined) {
        const present = new Set<string>();
        let next: string | undefined;
        do {
          const page: ListPage = await list(access, path, next, signal);
          for (const object of page.items) {
            const { name, resourceVersion } = object.metadata;
            present.add(name);
            if (told.get(name) === resourceVersion) continue;
            told.set(name, resourceVersion);
            yield { type: 'put', name, object };
          }
          ({ next } = page);
          if (next === undefined) place = page.resourceVersion;
        } while (next !== undefined);
        for (const name of told.keys()) {
          if (present.has(name)) continue;
          told.delete(name);
          yield { type: 'delete', name };
        }
        yield { type: 'inSync' };
        stale = false;
      }
      watching = clock.now();
      const events = await watch(access, path, place!, signal);
      // only an answer shows that the server is back
      if (stale) yield { type: 'inSync' };
      stale = false;
      for await (const event of events) {
        const { name, resourceVersion } = event.object.metadata;
        place = resourceVersion;
        backoff.reset();
        if (event.type === 'BOOKMARK') continue;
        if (event.type === 'DELETED') {
          if (told.delete(name)) yield { type: 'delete', name };
        } else {
          told.set(name, resourceVersion);
          yield { type: 'put', name, object: event.object };
        }
      }
    } catch (error) {
      if (signal.aborted) return;
      if (error instanceof Gone) place = undefined;
      else failure = messageOf(error);
    }
    if (failure !== undefined && !stale) {
      stale = true;
      yield { type: 'stale', reason: `${access.server}${path}: ${failure}` };
    }
    // a watch that came to its end is taken up again at once
    const early = clock.now() - watching < LIVED_MS;
    if (failure !== undefined || place === undefined || early) await sleep(backoff.next(), signal, clock);
  }
}

interface ListPage {
  readonly items: readonly ApiObject[];
  readonly resourceVersion: string;
  readonly next: string | undefined;
}

async function list(access: ApiAccess, path: string, next: string | undefined, signal: AbortSignal): Promise<ListPage> {
  const query = new URLSearchParams({ limit: String(PAGE), ...(next !== undefined && { continue: next }) });
  const bounded = AbortSignal.any([signal, AbortSignal.timeout(REQUEST_MS)]);
  const answer: unknown = await (await ask(access, `${path}?${query.toString()}`, bounded)).json();
  const { items, metadata } = answer as {
    items?: unknown;
    metadata?: { resourceVersion?: unknown; continue?: unknown };
  };
  if (!Array.isArray(items) || typeof metadata?.resourceVersion !== 'string') throw new Error('the answer is no list');
  const more = metadata.continue;
  return {
    items: items.filter((item): item is ApiObject => isObject(item)),
    resourceVersion: metadata.resourceVersion,
    next: typeof more === 'string' && more !== '' ? more : undefined,
  };
}

interface WatchEvent {
  readonly type: 'ADDED' | 'MODIFIED' | 'DELETED' | 'BOOKMARK';
  readonly object: ApiObject;
}

/** The events from `place` on, once the server has agreed to tell them. */
async function watch(
  access: ApiAccess,
  path: string,
  place: string,
  signal: AbortSignal,
): Promise<AsyncGenerator<WatchEvent>> {
  const query = new URLSearchParams({
    ...{ watch: '1', allowWatchBookmarks: 'true', resourceVersion: place, timeoutSeconds: String(WATCH_SECONDS) },
  });
  const bounded = AbortSignal.any([signal, AbortSignal.timeout((WATCH_SECONDS + GRACE_SECONDS) * 1000)]);
  const { body } = await ask(access, `${path}?${query.toString()}`, bounded);
  if (!body) throw new Error('the watch has no content');
  return eventsOf(body);
}

async function* eventsOf(body: ReadableStream<Uint8Array>): AsyncGenerator<WatchEvent> {
  const decoder = new TextDecoder();
  let rest = '';
  for await (const chunk of body) {
    const lines = (rest + decoder.decode(chunk, { stream: true })).split('\n');
    rest = lines.pop()!;
    if (rest.length > MAX_LINE) throw new Error('the watch sends an event without an end');
    for (const line of lines) if (line.trim() !== '') yield eventOf(line);
  }
}

function eventOf(line: string): WatchEvent {
  const { type, object } = JSON.parse(line) as { type?: unknown; object?: unknown };
  if (type === 'ERROR') {
    const { code, message } = object as { code?: unknown; message?: unknown };
    if (code === 410) throw new Gone();
    throw new Error(`the watch ends: ${String(message)}`);
  }
  const known = type === 'ADDED' || type === 'MODIFIED' || type === 'DELETED' || type === 'BOOKMARK';
  if (!known || !isObject(object, type === 'BOOKMARK')) throw new Error('the watch sends what is no event');
  return { type, object };
}

/** Bookmarks are objects without a name. */
function isObject(value: unknown, nameless = false): value is ApiObject {
  const metadata = (value as { metadata?: { name?: unknown; resourceVersion?: unknown } } | null)?.metadata;
  return typeof metadata?.resourceVersion === 'string' && (nameless || typeof metadata.name === 'string');
}

async function ask(access: ApiAccess, path: string, signal: AbortSignal): Promise<Response> {
  const token = access.token();
  const certificate = access.clientCertificate();
  const response = await fetch(access.server + path, {
    signal,
    headers: { accept: 'application/json', ...(token !== undefined && { authorization: `Bearer ${token}` }) },
    tls: { ...(access.ca !== undefined && { ca: access.ca }), ...certificate },
  });
  if (response.status === 410) throw new Gone();
  if (!response.ok) throw new Error(`the API answers ${response.status}: ${(await response.text()).slice(0, 200)}`);
  return response;
}
