/**
 * As much of a Kubernetes API server as a client of Nodes can tell from the real one: TLS, bearer tokens, lists in pages at
 * one resource version, watches with bookmarks, a history that is forgotten (410, as an answer or within a watch).
 */
import { readFileSync } from 'node:fs';
import type { KeyPair } from './certificates.ts';

interface Stored {
  readonly metadata: { name: string; resourceVersion: string; [key: string]: unknown };
  readonly [key: string]: unknown;
}
interface Event {
  readonly type: 'ADDED' | 'MODIFIED' | 'DELETED';
  readonly object: Stored;
  readonly version: number;
}

export class FakeApi implements AsyncDisposable {
  token = 'first';
  readonly requests: string[] = [];
  private readonly objects = new Map<string, Stored>();
  private history: Event[] = [];
  private version = 100;
  private forgotten = 0;
  private readonly watchers = new Set<ReadableStreamDefaultController<Uint8Array>>();
  private server: Bun.Server<undefined> | undefined;
  private readonly pair: KeyPair;
  private readonly port: number;

  constructor(pair: KeyPair, port: number) {
    this.pair = pair;
    this.port = port;
    this.start();
  }

  get url(): string {
    return `https://127.0.0.1:${this.port}`;
  }

  start(): void {
    const [cert, key] = [readFileSync(this.pair.cert, 'utf8'), readFileSync(this.pair.key, 'utf8')];
    this.server = Bun.serve({
      ...{ hostname: '127.0.0.1', port: this.port, tls: { cert, key }, idleTimeout: 0 },
      fetch: (request) => this.answer(request),
    });
  }

  async stop(): Promise<void> {
    this.endWatches();
    await this.server?.stop(true);
  }

  put(name: string, rest: Record<string, unknown>, metadata: Record<string, unknown> = {}): void {
    const known = this.objects.has(name);
    const object: Stored = {
      ...{ kind: 'Node', apiVersion: 'v1', ...rest },
      metadata: { ...metadata, name, resourceVersion: String(++this.version) },
    };
    this.objects.set(name, object);
    this.tell({ type: known ? 'MODIFIED' : 'ADDED', object, version: this.version });
  }

  delete(name: string): void {
    const object = this.objects.get(name);
    if (!object) throw new Error(`no ${name}`);
    this.objects.delete(name);
    const last = { ...object, metadata: { ...object.metadata, resourceVersion: String(++this.version) } };
    this.tell({ type: 'DELETED', object: last, version: this.version });
  }

  /** Tells watchers how far they are, though nothing they watch has changed. */
  bookmark(): void {
    const metadata = { resourceVersion: String(++this.version), creationTimestamp: null };
    this.send({ type: 'BOOKMARK', object: { kind: 'Node', apiVersion: 'v1', metadata } });
  }

  /** What was before now cannot be watched from any more. */
  forget(): void {
    this.history = [];
    this.forgotten = ++this.version;
  }

  endWatches(): void {
    for (const watcher of this.watchers) watcher.close();
    this.watchers.clear();
  }

  /** As a server does that notices within a watch that its place is gone. */
  expireWatches(): void {
    this.send({ type: 'ERROR', object: { kind: 'Status', status: 'Failure', reason: 'Expired', code: 410 } });
    this.endWatches();
  }

  private tell(event: Event): void {
    this.history.push(event);
    this.send({ type: event.type, object: event.object });
  }

  private send(line: unknown): void {
    const bytes = new TextEncoder().encode(`${JSON.stringify(line)}\n`);
    // in two pieces, as networks do
    for (const watcher of this.watchers) {
      watcher.enqueue(bytes.subarray(0, 7));
      watcher.enqueue(bytes.subarray(7));
    }
  }

  private answer(request: Request): Response {
    const url = new URL(request.url);
    const query = Object.fromEntries(url.searchParams);
    this.requests.push(`${query['watch'] === '1' ? 'watch' : 'list'} ${query['resourceVersion'] ?? ''}`.trim());
    if (request.headers.get('authorization') !== `Bearer ${this.token}`) return status(401, 'Unauthorized');
    if (url.pathname !== '/api/v1/nodes') return status(404, 'NotFound');
    return query['watch'] === '1' ? this.watch(Number(query['resourceVersion'])) : this.list(query);
  }

  private list(query: Record<string, string>): Response {
    const names = [...this.objects.keys()].sort();
    const [at, version] = (query['continue'] ?? `0,${this.version}`).split(',').map(Number) as [number, number];
    if (version < this.forgotten) return status(410, 'Expired');
    const end = at + Math.min(Number(query['limit'] ?? 500), 2); // small pages: more to go wrong
    const items = names.slice(at, end).map((name) => this.objects.get(name)!);
    const more = end < names.length ? { continue: `${end},${version}` } : {};
    const metadata = { resourceVersion: String(version), ...more };
    return Response.json({ kind: 'NodeList', apiVersion: 'v1', metadata, items });
  }

  private watch(from: number): Response {
    if (from < this.forgotten) return status(410, 'Expired');
    let mine: ReadableStreamDefaultController<Uint8Array>;
    const body = new ReadableStream<Uint8Array>({
      start: (controller) => {
        mine = controller;
        this.watchers.add(controller);
        for (const { type, object, version } of this.history) {
          if (version > from) controller.enqueue(new TextEncoder().encode(`${JSON.stringify({ type, object })}\n`));
        }
      },
      cancel: () => void this.watchers.delete(mine),
    });
    return new Response(body, { headers: { 'content-type': 'application/json' } });
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.stop();
  }
}

const status = (code: number, reason: string): Response =>
  Response.json(
    { kind: 'Status', apiVersion: 'v1', status: 'Failure', reason, code, message: reason },
    { status: code },
  );
