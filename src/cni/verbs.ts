/** The verbs of CNI spec 1.1.0 section 2, as the agent answers them: from variables and configuration to what is printed. */
import { GodwitError, messageOf } from '../base/mod.ts';
import type { Result } from '../base/mod.ts';
import { isRouted } from '../desired/mod.ts';
import type { PodNetwork } from '../desired/mod.ts';
import type { Attachments } from './attachments.ts';
import { parseConfig } from './config.ts';
import type { NetworkConfig } from './config.ts';
import { parseEnvironment } from './environment.ts';
import type { Environment, Variables } from './environment.ts';
import { CniError, codes } from './error.ts';
import { unsupportedIpam, wishesOf, withoutEffect } from './wishes.ts';
import type { PodNamespaces } from './namespace.ts';
import { formatResult, missingInResult } from './result.ts';
import { formatVersions, isAtLeast } from './versions.ts';
import type { CniVersion } from './versions.ts';

export interface VerbContext {
  readonly attachments: Attachments;
  readonly namespaces: PodNamespaces;
  /** The pod network of this node, or why there is none yet. */
  readonly network: () => Result<PodNetwork, string>;
  /** An attachment was asked for, or asked away, now: an earlier DEL that was put off is settled. */
  readonly onAsked: (container: string, name: string) => void;
  /** A pod is attached that asked for more than it got. */
  readonly onIgnored: (pod: string, annotations: readonly string[]) => void;
}

function requireVersion(config: NetworkConfig, verb: string, least: CniVersion): void {
  if (isAtLeast(config.cniVersion, least)) return;
  const message = `${verb} needs cniVersion ${least}, the configuration has ${config.cniVersion}`;
  throw new CniError(codes.incompatibleVersion, message);
}

function readNetwork(context: VerbContext, code: number): PodNetwork {
  const network = context.network();
  if (network.ok) return network.value;
  throw new CniError(code, 'the pod network of this node is not ready', network.error);
}

function podOf({ args }: Environment): { namespace: string; name: string; uid: string } | undefined {
  const name = args.get('K8S_POD_NAME');
  if (name === undefined) return undefined;
  return { namespace: args.get('K8S_POD_NAMESPACE') ?? '', name, uid: args.get('K8S_POD_UID') ?? '' };
}

async function add(context: VerbContext, env: Environment, config: NetworkConfig): Promise<string> {
  using pod = context.namespaces.open(env.namespace);
  const network = readNetwork(context, codes.tryAgain);
  const wishes = wishesOf(env, config);
  if (wishes.from.ipam && !isRouted(network)) throw unsupportedIpam();
  context.onAsked(env.container, env.interface);
  const attachment = await context.attachments.attach(
    {
      container: env.container,
      interface: env.interface,
      network: config.name,
      namespacePath: env.namespace,
      ...wishes,
      mtu: config.mtu,
      routes: config.routes,
      pod: podOf(env),
    },
    pod,
    network,
  );
  const ignored = withoutEffect(config);
  if (ignored.length > 0) {
    const pod = podOf(env);
    context.onIgnored(pod ? `${pod.namespace}/${pod.name}` : env.container, ignored);
  }
  return formatResult(attachment, config, env.namespace);
}

async function del(context: VerbContext, env: Environment, config?: NetworkConfig): Promise<string> {
  // never by the namespace: it may be gone, or be somebody else's by now
  await context.attachments.remove(env.container, env.interface, { network: config?.name, pod: podOf(env) });
  context.onAsked(env.container, env.interface);
  return '';
}

function check(context: VerbContext, env: Environment, config: NetworkConfig): string {
  requireVersion(config, 'CHECK', '0.4.0');
  const attachment = context.attachments.get(env.container, env.interface);
  if (!attachment) {
    throw new CniError(codes.unknownContainer, `no attachment ${env.container}/${env.interface} is known here`);
  }
  if (!config.prevResult) throw new CniError(codes.invalidConfig, 'CHECK needs prevResult');
  using pod = context.namespaces.open(env.namespace);
  const faults = [...missingInResult(attachment, config.prevResult), ...context.attachments.inspect(attachment, pod)];
  if (faults.length > 0) throw new CniError(codes.differs, 'the attachment is not as it was made', faults.join('; '));
  return '';
}

async function gc(context: VerbContext, config: NetworkConfig): Promise<string> {
  requireVersion(config, 'GC', '1.1.0');
  const valid = config['cni.dev/valid-attachments'] ?? config['cni.dev/attachments'];
  // an absent list must not be read as an empty one: that would remove every pod's interface
  if (!valid) throw new CniError(codes.invalidConfig, 'GC needs cni.dev/valid-attachments');
  const keep = new Set(valid.map((a) => `${a.containerID}/${a.ifname}`));
  const surplus = context.attachments
    .list()
    .filter((a) => a.network === config.name && !keep.has(`${a.container}/${a.interface}`));
  const results = await Promise.allSettled(surplus.map((a) => context.attachments.remove(a.container, a.interface)));
  const failures = results.flatMap((r) => (r.status === 'rejected' ? [r.reason as unknown] : []));
  const [first] = failures;
  if (first === undefined) return '';
  const details = `${failures.length} of ${surplus.length}; the first: ${messageOf(first)}`;
  throw new CniError(codes.kernel, 'attachments could not be removed', details);
}

function status(context: VerbContext, config: NetworkConfig): string {
  requireVersion(config, 'STATUS', '1.1.0');
  const obstacle = context.attachments.obstacle(readNetwork(context, codes.notAvailable));
  if (obstacle) throw obstacle;
  return '';
}

/** Gives what goes to standard output; throws CniError, or GodwitError when an invariant is broken. */
export async function answerVerb(context: VerbContext, variables: Variables, bytes: Uint8Array): Promise<string> {
  const env = parseEnvironment(variables);
  const parsed = parseConfig(bytes);
  if (!parsed.ok) {
    if (env.verb === 'VERSION') return formatVersions(undefined);
    // such a configuration was never attached with; a runtime cleans up after its refusal all the same
    if (env.verb === 'DEL' && parsed.error.code === codes.unsupportedField) return del(context, env);
    throw parsed.error;
  }
  switch (env.verb) {
    case 'ADD':
      return add(context, env, parsed.value);
    case 'DEL':
      return del(context, env, parsed.value);
    case 'CHECK':
      return check(context, env, parsed.value);
    case 'GC':
      return gc(context, parsed.value);
    case 'STATUS':
      return status(context, parsed.value);
    case 'VERSION':
      return formatVersions(parsed.value.cniVersion);
    default:
      throw new GodwitError('internal', `unreachable verb ${String(env.verb satisfies never)}`);
  }
}
