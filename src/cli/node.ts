/** `godwit node`: what this node would do, and what its agent says. */
import type { Command } from 'commander';
import { detectAddress, methodFor, openNodeKernel, parseMethod } from '../agent/mod.ts';
import type { Candidate, Detection, DetectionMethod } from '../agent/mod.ts';
import { GodwitError, messageOf } from '../base/mod.ts';
import type { NodeStatus } from '../status/mod.ts';
import { show, table, withOutput } from './output.ts';
import type { OutputOptions, Row, Style } from './output.ts';

const DEFAULT_SOCKET = '/run/godwit/agent.sock';

interface SocketOptions extends OutputOptions {
  readonly socket: string;
}

async function askAgent(socket: string): Promise<NodeStatus> {
  let response: Response;
  try {
    response = await fetch('http://agent/status', { unix: socket, signal: AbortSignal.timeout(10_000) });
  } catch (error) {
    throw new GodwitError('agent', `no agent answers on ${socket}: ${messageOf(error)}`, {
      hint: 'is it running (godwit agent), and are you root? Another socket is given with --socket',
    });
  }
  if (!response.ok) throw new GodwitError('agent', `the agent on ${socket} answers ${response.status}`);
  return (await response.json()) as NodeStatus;
}

const styles: Readonly<Record<Candidate['verdict'], Style>> = {
  chosen: 'green',
  allowed: 'bold',
  refused: 'dim',
};

function detectionText(detections: readonly Detection[]): string {
  return detections
    .map(({ family, reason, candidates }) => {
      const rows = candidates.map((c): Row => {
        return [c.device, c.address || '–', { text: c.verdict, style: styles[c.verdict] }, c.reason];
      });
      return `IPv${family}  ${reason}\n${table(['INTERFACE', 'ADDRESS', 'VERDICT', 'WHY'], rows)}`;
    })
    .join('\n\n');
}

function detect(methods: Readonly<Record<4 | 6, DetectionMethod>>, skip: string): Detection[] {
  using kernel = openNodeKernel();
  const host = kernel.snapshot({ routes: true });
  return ([4, 6] as const).map((family) => detectAddress(host, methods[family], family, [skip]));
}

function methodOption(text: string): DetectionMethod {
  const method = parseMethod(text);
  if (!method.ok) throw new GodwitError('method', method.error, { hint: 'see godwit node detect --help' });
  return method.value;
}

function routesText(status: NodeStatus): string {
  const rows = status.routes.items.map((route): Row => {
    const state = route.installed
      ? ({ text: 'installed', style: 'green' } as const)
      : ({ text: 'missing', style: 'red' } as const);
    return [route.destination, route.via ?? '–', route.device ?? '–', state, route.problem ?? ''];
  });
  return table(['DESTINATION', 'VIA', 'DEVICE', 'KERNEL', 'PROBLEM'], rows);
}

function subnetRows({ network, lease, bridge }: NodeStatus): Row[] {
  return [
    [
      'network',
      network
        ? `${network.networks.join(', ')} ${network.backend}, ${network.leases} leases`
        : 'subnets, not known yet',
    ],
    [
      'lease',
      `${lease?.state ?? 'waiting'} ${lease?.subnets.join(', ') ?? ''}${lease?.reservation === true ? ' (reservation)' : ''}${lease?.reason === undefined ? '' : `: ${lease.reason}`}`,
    ],
    ['bridge', bridge ? `${bridge.name} ${bridge.addresses.join(', ')} mtu ${bridge.mtu}` : 'not there yet'],
  ];
}

function blockRows({ bgp, blocks, pools, tunnels }: NonNullable<NodeStatus['blocks']>): Row[] {
  return [
    ['network', `blocks of ${pools.map((pool) => pool.cidr).join(', ') || 'no pool yet'}`],
    ['blocks', blocks.join(', ') || 'none yet'],
    ...tunnels.map(({ kind, device, form, address, inPlace, problem }): Row => {
      const what =
        `${device}${kind === 'ipip' ? ` (${form === 'bpf' ? 'BPF' : 'kernel'})` : ''} ${address ?? ''}`.trim();
      const state = inPlace
        ? ({ text: 'in place', style: 'green' } as const)
        : { text: 'missing', style: 'red' as const };
      return [`tunnel ${what}`, state, problem ?? ''];
    }),
    ['bgp', bgp ? `AS ${bgp.as}, router id ${bgp.routerId}, port ${bgp.port}` : 'not started'],
    ...(bgp?.sessions ?? []).map((session): Row => {
      const state = { text: session.state, style: session.state === 'Established' ? 'green' : 'red' } as const;
      const counts = `${session.accepted} routes in, ${session.advertised} out`;
      return [session.name, state, session.state === 'Established' ? counts : (session.reason ?? '')];
    }),
  ];
}

function statusText(status: NodeStatus): string {
  const { datastore, routes, cni } = status;
  const rows: Row[] = [
    ['node', `${status.node} (process ${status.pid}, up ${status.uptime} s)`],
    ['ready', status.ready ? { text: 'yes', style: 'green' } : { text: 'no', style: 'red' }],
    ...status.reasons.map((reason): Row => ['', { text: reason, style: 'red' }]),
    ...status.warnings.map((warning): Row => ['warning', { text: warning, style: 'yellow' }]),
    ...status.addresses.map((a): Row => [
      'address',
      a.address === undefined ? a.reason : `${a.address} dev ${a.device} (${a.method})`,
    ]),
    [
      'datastore',
      `${datastore.name} ${datastore.state}${datastore.copyOf === undefined ? '' : ` of ${datastore.copyOf}`}${datastore.reason === undefined ? '' : `: ${datastore.reason}`}`,
    ],
    // a network that was given up says nothing of itself
    ...(status.networks.includes('subnets') && status.lease ? subnetRows(status) : []),
    ...(status.blocks ? blockRows(status.blocks) : []),
    ['routes', `${routes.installed} of ${routes.wanted} in the kernel (proto ${routes.protocol})`],
    ...status.parts.map((part): Row => [part.name, part.inSync ? 'in place' : { text: part.problem, style: 'red' }]),
    ['cni', `${cni.ready ? 'ready' : (cni.reason ?? 'not ready')}, ${cni.pods.length} pods, ${cni.socket}`],
  ];
  return table([], rows);
}

export function register(command: Command): void {
  withOutput(
    command
      .command('detect')
      .description('show which address the agent would take as this node’s, and why not the others')
      .option('--method <METHOD>', 'for IPv4: as the agent’s --address-method', 'first-found')
      .option('--method6 <METHOD>', 'for IPv6: as the agent’s --address6-method', 'first-found')
      .option('--bridge <NAME>', 'bridge of the pods, never the underlay', 'cni0'),
  ).action(async (options: OutputOptions & { method: string; method6: string; bridge: string }) => {
    const config = { addressMethod: methodOption(options.method), address6Method: methodOption(options.method6) };
    const detections = detect({ 4: methodFor(config, 4), 6: methodFor(config, 6) }, options.bridge);
    await show(options, detections, () => detectionText(detections));
    if (!detections.some((detection) => detection.choice)) process.exitCode = 1;
  });
  const asking = (name: string, description: string) =>
    withOutput(command.command(name).description(description)).option(
      '--socket <FILE>',
      'socket of the agent',
      DEFAULT_SOCKET,
    );
  asking('status', 'address, lease, routes, problems: what the agent of this node says').action(
    async (options: SocketOptions) => {
      const status = await askAgent(options.socket);
      await show(options, status, () => statusText(status));
    },
  );
  asking('routes', 'the routes to the other nodes, and whether they are in the kernel').action(
    async (options: SocketOptions) => {
      const status = await askAgent(options.socket);
      await show(options, status.routes.items, () => routesText(status));
    },
  );
}
