/** Prometheus metrics per neighbour. The library is loaded by the first scrape, not at start. */
import type { Registry } from 'prom-client';
import type { Speaker } from '../speaker/mod.ts';
import { summaryOf } from './views.ts';

export async function metricsText(speaker: Speaker): Promise<string> {
  const { Gauge, Registry } = await import('prom-client');
  const registry: Registry = new Registry();
  const gauge = (name: string, help: string, labelNames: string[]) =>
    new Gauge({ name: `godwit_bgp_${name}`, help, labelNames, registers: [registry] });
  const summary = summaryOf(speaker);

  const prefixes = gauge('table_prefixes', 'Prefixes in the table', ['family']);
  const paths = gauge('table_paths', 'Paths in the table', ['family']);
  for (const family of ['ipv4', 'ipv6'] as const) {
    prefixes.set({ family }, summary.prefixes[family]);
    paths.set({ family }, summary.paths[family]);
  }
  gauge('table_bytes', 'Bytes of all tables', []).set(summary.tableBytes);
  gauge('attribute_sets', 'Distinct attribute sets', []).set(summary.attributeSets);
  gauge('update_groups', 'Groups of neighbours that are sent the same', []).set(summary.updateGroups);

  const up = gauge('neighbor_up', '1 when the session is established', ['neighbor', 'asn']);
  const since = gauge('neighbor_established_seconds', 'Start of the session, seconds since the epoch', ['neighbor']);
  const established = gauge('neighbor_sessions_established_total', 'Sessions that came up', ['neighbor']);
  const lost = gauge('neighbor_sessions_lost_total', 'Sessions that ended', ['neighbor']);
  const messages = gauge('neighbor_messages_total', 'Messages', ['neighbor', 'direction']);
  const bytes = gauge('neighbor_session_bytes', 'Bytes in this session', ['neighbor', 'direction']);
  const routes = gauge('neighbor_routes', 'Routes of the neighbour', ['neighbor', 'family', 'kind']);
  for (const n of summary.neighbors) {
    const neighbor = n.address;
    up.set({ neighbor, asn: n.remoteAs }, n.state === 'Established' ? 1 : 0);
    if (n.since !== undefined) since.set({ neighbor }, n.since / 1000);
    established.set({ neighbor }, n.sessions.established);
    lost.set({ neighbor }, n.sessions.lost);
    messages.set({ neighbor, direction: 'in' }, n.messages.received);
    messages.set({ neighbor, direction: 'out' }, n.messages.sent);
    bytes.set({ neighbor, direction: 'in' }, n.bytes.received);
    bytes.set({ neighbor, direction: 'out' }, n.bytes.sent);
    for (const f of n.families) {
      for (const kind of ['received', 'accepted', 'advertised', 'stale', 'behind'] as const) {
        routes.set({ neighbor, family: f.family, kind }, f[kind]);
      }
    }
  }
  return registry.metrics();
}

/** Serves `/metrics` on a local address. Requests that come by another name (DNS rebinding) are refused. */
export function serveMetrics(speaker: Speaker, address: string, port: number): { port: number } & Disposable {
  const server = Bun.serve({
    hostname: address,
    port,
    async fetch(request) {
      const host = new URL(request.url).hostname.replace(/^\[|\]$/g, '');
      const local = host === 'localhost' || host === address;
      if (!local) return new Response('forbidden\n', { status: 403 });
      if (new URL(request.url).pathname !== '/metrics') return new Response('not found\n', { status: 404 });
      return new Response(await metricsText(speaker), { headers: { 'content-type': 'text/plain; version=0.0.4' } });
    },
  });
  return { port: server.port!, [Symbol.dispose]: () => void server.stop(true) };
}
