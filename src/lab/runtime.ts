/**
 * A container runtime, as far as networking goes: a namespace for each pod, and the CNI plugin executed for it as libcni
 * does it (specification 1.1.0, sections 2 and 3): the variables in its environment, the configuration on its standard
 * input, its answer from standard output.
 */
import { z } from 'zod';
import { GodwitError, printable, sleep } from '../base/mod.ts';
import { installExecutable } from '../cni/mod.ts';
import { parseInterfaceAddress } from '../net/mod.ts';
import type { IpAddress } from '../net/mod.ts';
import { NetworkNamespace } from '../sys/mod.ts';
import type { LabLayout } from './layout.ts';
import { makeNamespace } from './network.ts';
import { cleanEnvironment } from './process.ts';
import type { Pod } from './topology.ts';

const PLUGIN = 'godwit';
const TRY_AGAIN = 11;
const ATTEMPTS = 20;
const PLUGIN_TIMEOUT_MS = 30_000;

/** Puts the plugin where CNI_PATH of a host points, as `godwit cni install` does. */
export function installPlugin(layout: LabLayout, host: string): void {
  installExecutable(`${layout.pluginDirectory(host)}/${PLUGIN}`, layout.cniSocket(host));
}

const result = z.object({ ips: z.array(z.object({ address: z.string() })).min(1) });
const refusal = z.object({ code: z.number(), msg: z.string(), details: z.string().optional() });

/** What libcni hands the plugin, for a pod and a verb. */
function requestFor(layout: LabLayout, pod: Pod, verb: 'ADD' | 'DEL') {
  const configuration = {
    cniVersion: '1.1.0',
    name: 'godwit-lab',
    type: PLUGIN,
    socket: layout.cniSocket(pod.host),
    ...(pod.addresses.length > 0 && { runtimeConfig: { ips: pod.addresses } }),
  };
  const environment = {
    CNI_COMMAND: verb,
    CNI_CONTAINERID: `${layout.name}-${pod.name}`,
    CNI_NETNS: layout.namespace(pod.name),
    CNI_IFNAME: 'eth0',
    CNI_PATH: layout.pluginDirectory(pod.host),
    CNI_ARGS: `IgnoreUnknown=1;K8S_POD_NAMESPACE=lab;K8S_POD_NAME=${pod.name}`,
  };
  return { configuration: JSON.stringify(configuration), environment };
}

/** Detaches the pod; throws what the plugin says. */
export async function detachPod(layout: LabLayout, pod: Pod, signal: AbortSignal): Promise<void> {
  const { configuration, environment } = requestFor(layout, pod, 'DEL');
  const { status, stdout, stderr } = await execute(layout, pod.host, environment, configuration, signal);
  if (status === 0) return;
  const words = printable(`${stdout}${stderr}`, 500);
  throw new GodwitError('cni', `the CNI plugin does not detach ${pod.name} from ${pod.host}: ${words}`);
}

/** Makes the pod's namespace and attaches it to its host; gives the pod's addresses. Throws what the plugin says. */
export async function attachPod(layout: LabLayout, pod: Pod, signal: AbortSignal): Promise<IpAddress[]> {
  makeNamespace(layout, layout.namespace(pod.name))[Symbol.dispose]();
  const { configuration, environment } = requestFor(layout, pod, 'ADD');
  for (let attempt = 1; ; attempt++) {
    const { status, stdout, stderr } = await execute(layout, pod.host, environment, configuration, signal);
    const answer = parseJson(stdout);
    const added = result.safeParse(answer);
    const addresses = (added.data?.ips ?? []).flatMap((given) => parseInterfaceAddress(given.address)?.address ?? []);
    const areWanted = addresses.length > 0 && pod.addresses.every((wanted) => addresses.includes(wanted));
    if (status === 0 && areWanted) return addresses;
    const refused = refusal.safeParse(answer).data;
    if (refused?.code === TRY_AGAIN && attempt < ATTEMPTS && !signal.aborted) {
      await sleep(250, signal);
      continue;
    }
    const words = refused
      ? `code ${refused.code}: ${refused.msg}${refused.details === undefined ? '' : ` (${refused.details})`}`
      : `exit status ${status}, output ${stdout || 'none'} ${stderr}`;
    throw new GodwitError('cni', `the CNI plugin does not attach ${pod.name} to ${pod.host}: ${printable(words, 500)}`);
  }
}

async function execute(
  layout: LabLayout,
  host: string,
  environment: Record<string, string>,
  stdin: string,
  signal: AbortSignal,
) {
  using namespace = NetworkNamespace.open(layout.namespace(host));
  const child = namespace.run(() =>
    Bun.spawn([`${layout.pluginDirectory(host)}/${PLUGIN}`], {
      cwd: '/',
      env: { ...cleanEnvironment(), ...environment },
      stdio: [new TextEncoder().encode(stdin), 'pipe', 'pipe'],
      detached: true,
      timeout: PLUGIN_TIMEOUT_MS,
      killSignal: 'SIGKILL',
      signal,
    }),
  );
  const [stdout, stderr, status] = await Promise.all([child.stdout.text(), child.stderr.text(), child.exited]);
  return { status, stdout, stderr };
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
