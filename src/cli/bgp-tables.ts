/** How BGP's answers look to a person. */
import type { AttributesJson, NeighborStatus, PathJson, ReloadReport, RouteJson, SpeakerSummary } from '../bgp/mod.ts';
import { printable } from '../base/mod.ts';
import { painter, table } from './output.ts';
import type { Row, Style } from './output.ts';

/** `3d04h`, `4h12m`, `12m05s`, `8s`. */
export function formatAge(ms: number): string {
  const s = Math.max(0, Math.floor(ms / 1000));
  const two = (n: number) => String(n).padStart(2, '0');
  if (s >= 86400) return `${Math.floor(s / 86400)}d${two(Math.floor((s % 86400) / 3600))}h`;
  if (s >= 3600) return `${Math.floor(s / 3600)}h${two(Math.floor((s % 3600) / 60))}m`;
  return s >= 60 ? `${Math.floor(s / 60)}m${two(s % 60)}s` : `${s}s`;
}

function formatBytes(n: number): string {
  const units = ['B', 'KiB', 'MiB', 'GiB'];
  let [value, unit] = [n, 0];
  while (value >= 1024 && unit < 3) {
    value /= 1024;
    unit++;
  }
  return `${unit === 0 ? value : value.toFixed(1)} ${units[unit]}`;
}

const stateStyle = (state: string): Style => (state === 'Established' ? 'green' : state === 'Idle' ? 'red' : 'yellow');

export function formatSummary(s: SpeakerSummary, now: number): string {
  const head = [
    `router id ${s.routerId}, AS ${s.asn}, up ${formatAge(now - s.startedAt)}`,
    `${s.prefixes.ipv4} IPv4 and ${s.prefixes.ipv6} IPv6 prefixes, ${s.paths.ipv4 + s.paths.ipv6} paths, ` +
      `${s.attributeSets} attribute sets, ${s.updateGroups} update groups, ${formatBytes(s.tableBytes)}`,
  ];
  const rows = s.neighbors.map((n): Row => {
    const sum = (key: 'received' | 'accepted' | 'advertised') => String(n.families.reduce((t, f) => t + f[key], 0));
    const age = n.since === undefined ? '' : formatAge(now - n.since);
    const note =
      n.shutdown !== undefined ? 'shut down' : n.state === 'Established' ? badNote(n) : (n.lastError?.reason ?? '');
    const state = { text: n.state, style: stateStyle(n.state) };
    return [n.name, n.remoteAs, state, age, sum('received'), sum('accepted'), sum('advertised'), note];
  });
  if (rows.length === 0) return [...head, 'no neighbours'].join('\n');
  const headings = ['NEIGHBOR', 'AS', 'STATE', 'UP', 'RECEIVED', 'ACCEPTED', 'SENT', 'NOTE'];
  return [...head, '', table(headings, rows)].join('\n');
}

/** Routes that are missing although the session is up: somebody will wonder. */
const badNote = ({ badUpdates }: NeighborStatus): string =>
  badUpdates === undefined ? '' : `${badUpdates.count} bad UPDATEs, see show neighbors`;

export function formatNeighbor(n: NeighborStatus, now: number): string {
  const paint = painter();
  const lines: [string, string][] = [
    ['address', n.address],
    ['AS', `${n.remoteAs} (${n.type}), ours ${n.localAs}`],
    ['state', paint(stateStyle(n.state), n.state) + (n.since === undefined ? '' : ` for ${formatAge(now - n.since)}`)],
  ];
  if (n.description !== undefined) lines.push(['description', printable(n.description)]);
  if (n.dynamicRange !== undefined) lines.push(['came by range', n.dynamicRange]);
  if (n.shutdown !== undefined) lines.push(['shut down', printable(n.shutdown) || 'by operator']);
  if (n.session) {
    lines.push(
      ['router id', n.session.routerId],
      ['our address', n.session.localAddress],
      ['hold time', `${n.session.holdTime} s`],
      ['agreed on', n.session.capabilities.join(', ')],
    );
    if (n.session.restartTime !== undefined) lines.push(['restart time', `${n.session.restartTime} s`]);
  }
  if (n.badUpdates) {
    const { count, treatment, reason, at } = n.badUpdates;
    lines.push(['bad UPDATEs', `${count}, the last ${formatAge(now - at)} ago was ${treatment}: ${reason}`]);
  }
  if (n.lastError) lines.push(['last error', `${n.lastError.reason}, ${formatAge(now - n.lastError.at)} ago`]);
  lines.push(
    ['sessions', `${n.sessions.established} established, ${n.sessions.lost} lost`],
    [
      'messages',
      `${n.messages.received} in (${n.messages.updatesReceived} UPDATE), ${n.messages.sent} out besides UPDATE`,
    ],
    ['bytes', `${formatBytes(n.bytes.received)} in, ${formatBytes(n.bytes.sent)} out`],
  );
  const width = Math.max(...lines.map(([key]) => key.length));
  const body = lines.map(([key, value]) => `  ${key.padEnd(width)}  ${value}`);
  const rows = n.families.map((f): Row => {
    const eor = f.endOfRib ? 'yes' : 'no';
    return [
      f.family,
      String(f.received),
      String(f.accepted),
      String(f.stale),
      String(f.advertised),
      String(f.behind),
      eor,
    ];
  });
  const families = table(['FAMILY', 'RECEIVED', 'ACCEPTED', 'STALE', 'SENT', 'BEHIND', 'END-OF-RIB'], rows);
  return [paint('bold', printable(n.name)), ...body, ...families.split('\n').map((line) => `  ${line}`)].join('\n');
}

const marks: Record<PathJson['state'], string> = {
  best: '*>',
  multipath: '*=',
  valid: '*',
  unreachable: '!',
  rejected: 'x',
  loop: '~',
};

export const routeHeadings = ['', 'PREFIX', 'NEXT HOP', 'FROM', 'PREF', 'MED', 'AS PATH', 'REASON'];
export const routeLegend = '*> best, *= multipath, * valid, ! unreachable, x rejected by policy, ~ loop, S stale';

export function routeRows(route: RouteJson): Row[] {
  return route.paths.map((path, index): Row => {
    const style: { style?: Style } = path.state === 'best' ? { style: 'green' } : {};
    return [
      { text: marks[path.state] + (path.stale ? 'S' : ''), ...style },
      index === 0 ? route.prefix : '',
      path.nextHop ?? '',
      path.from,
      String(path.localPref ?? ''),
      String(path.med ?? ''),
      `${path.asPath}${path.asPath === '' ? '' : ' '}${path.origin[0]}`,
      path.reason,
    ];
  });
}

export const advertisedHeadings = ['PREFIX', 'NEXT HOP', 'FROM', 'PREF', 'MED', 'AS PATH'];

export function advertisedRow(route: AttributesJson & { prefix: string; from: string }): Row {
  const { prefix, nextHop, from, localPref, med, asPath, origin } = route;
  return [prefix, nextHop ?? '', from, String(localPref ?? ''), String(med ?? ''), `${asPath} ${origin[0]}`.trim()];
}

/** One prefix in full: every attribute of every path, and why each is where it is. */
export function formatRoute(route: RouteJson): string {
  const paint = painter();
  const out = [paint('bold', route.prefix)];
  for (const path of route.paths) {
    const { from, state, stale, reason: _reason, why, ...attributes } = path;
    out.push(`  from ${printable(from)}: ${paint(state === 'best' ? 'green' : 'dim', state)}${stale ? ', stale' : ''}`);
    out.push(`    why: ${printable(why)}`);
    for (const [key, value] of Object.entries(attributes)) {
      const text = Array.isArray(value) ? value.join(' ') : String(value);
      if (text !== '') out.push(`    ${key}: ${printable(text, 2000)}`);
    }
  }
  return out.join('\n');
}

export function formatReport(report: ReloadReport): string {
  const rows = report.neighbors.map((n): Row => {
    const style: Style = n.what === 'reset' || n.what === 'removed' ? 'red' : n.what === 'unchanged' ? 'dim' : 'yellow';
    const text = { added: 'new', removed: 'ends', unchanged: 'stays', soft: 'stays, routes again', reset: 'reset' }[
      n.what
    ];
    return [n.neighbor, { text: text ?? n.what, style }, n.because.join(', ')];
  });
  const out = rows.length > 0 ? [table(['NEIGHBOR', 'SESSION', 'BECAUSE OF'], rows)] : ['no neighbours'];
  for (const [what, list] of Object.entries(report.networks)) {
    if (list.length > 0) out.push(`networks ${what}: ${list.join(', ')}`);
  }
  for (const r of report.routes) {
    out.push(`routes accepted from ${r.neighbor}: ${r.accepted} now, ${r.wouldAccept} with the new policy`);
  }
  if (report.needsRestart.length > 0) out.push(`needs a restart of the speaker: ${report.needsRestart.join(', ')}`);
  return out.join('\n');
}
