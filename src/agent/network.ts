/**
 * What the agent's shell and the kinds of network it runs know of each other. The shell has the kernel, the caretaker,
 * the route reconciler, the pod server and this node's addresses; a network knows the datastore's side of one way of
 * owning addresses, and turns it into desired state for the shell's writers. An agent runs one network, or two while a
 * cluster moves from one to the other.
 */
import type { Clock, Logger, Result } from '../base/mod.ts';
import type { BlockAccess } from '../cni/mod.ts';
import { ROUTED_PREFIX } from '../dataplane/mod.ts';
import type { Caretaker, ReversePaths, RouteReconciler, SysctlWish } from '../dataplane/mod.ts';
import type { Datastore, LeaseId } from '../datastore/mod.ts';
import type { NatRules, PodNetwork } from '../desired/mod.ts';
import type { Family, IpAddress } from '../net/mod.ts';
import type {
  DatastoreStatus,
  NetworkSections,
  PodStatus,
  ProblemStatus,
  PublishedStatus,
  RouteStatusItem,
} from '../status/mod.ts';
import type { AddressState } from './address.ts';
import type { AgentConfig, NetworkKind } from './config.ts';
import type { HostSnapshot } from './detect.ts';
import type { NodeKernel } from './kernel.ts';

/** This node as it was last looked at. */
export interface NodeView {
  readonly host: HostSnapshot;
  readonly addresses: ReadonlyMap<Family, AddressState>;
  /** An address in use is on no interface just now; it may come back, or be given up after a grace. */
  readonly missingAddress: boolean;
}

/** Names of the devices by which pods' packets come, of whatever network. */
export const podDevices = ({ bridge }: Pick<AgentConfig, 'bridge'>): readonly string[] => [`${ROUTED_PREFIX}*`, bridge];

/** What the shell gives to a network. */
export interface NetworkContext {
  readonly config: AgentConfig;
  readonly log: Logger;
  readonly clock: Clock;
  readonly kernel: NodeKernel;
  readonly caretaker: Caretaker;
  readonly routes: RouteReconciler;
  /** Of the tunnels of all networks. */
  readonly reversePaths: ReversePaths;
  /** What is told of this node may be other than it was. */
  readonly statusChanged: () => void;
  /** Something was learned: `replan` is wanted soon. */
  readonly changed: () => void;
  /** The pods attached to this node, of whatever network. */
  readonly pods: () => readonly PodStatus[];
  /** Whether those of an earlier life are among them. */
  readonly podsKnown: () => boolean;
  /** Brings running pods to another MTU. False when that cannot be done yet. */
  readonly setPodMtu: (mtu: number) => boolean;
  /** Where routed pods get their addresses from now on. */
  readonly offerBlocks: (access: BlockAccess) => void;
  /** What is masqueraded for this network, together with the others'. Undefined: not known yet, nothing is touched. */
  readonly wantNat: (rules: NatRules | 'absent' | undefined) => void;
  /** The kernel settings this network wants kept; together with those of the others. */
  readonly wantSysctls: (wishes: readonly SysctlWish[]) => void;
}

/** A value for the metrics, with its labels. */
export interface Sample {
  readonly labels?: Readonly<Record<string, string>>;
  readonly value: number;
}

/** What a network says of itself. */
export interface NetworkReport {
  /** Why this node is not ready. */
  readonly reasons: readonly string[];
  readonly warnings: readonly string[];
  /** Producers of routes that it says itself what they wait for. */
  readonly answersFor?: readonly string[];
  readonly datastore: Omit<DatastoreStatus, 'name'>;
  readonly problems: readonly ProblemStatus[];
  /** Its routes, each with whether it is in the kernel. */
  routes(): readonly RouteStatusItem[];
  /** Its own parts of the node's status. */
  sections(): NetworkSections;
  /** Its part of what is published: addresses in use besides pods', and what others act on. */
  published?(): Pick<PublishedStatus, 'blocks'> & { readonly inUse: readonly IpAddress[] };
  /** Name, help, values. */
  metrics(): readonly (readonly [string, string, readonly Sample[]])[];
}

export interface AgentNetwork {
  readonly kind: NetworkKind;
  /** The families this network needs an address of the node in; of IPv4 while that is not known. */
  families(): readonly Family[];
  /** Whether a link that carries our alias is one of this network's own, and not a pod's. */
  ownsLink(name: string): boolean;
  /** Follows the datastore, and does what is to be done outside of the kernel, until aborted. */
  run(store: Datastore, signal: AbortSignal): Promise<void>;
  /** One new plan from what is known, handed to the writers. */
  replan(view: NodeView): void;
  /**
   * Called instead of `replan` once a migration to another network is finished: what is of this one alone goes for good,
   * as soon as no pod uses it.
   */
  retire?(view: NodeView): void;
  /** After `retire`: what is still there, for people. */
  leftovers?(): readonly string[];
  /** A pod came or went. */
  podsChanged(): void;
  /** The network pods are attached to, or why there is none yet. */
  podNetwork(): Result<PodNetwork, string>;
  report(): NetworkReport;
  /** What it does for all nodes when it is its turn, under this node's lease; until aborted. */
  leased(store: Datastore, lease: LeaseId, signal: AbortSignal): Promise<void>;
  /**
   * For the dry run: reads the datastore once and tells the writers what is wanted. Gives lines of what is planned outside
   * of the kernel; throws GodwitError when the datastore does not answer.
   */
  preview(store: Datastore, view: NodeView, signal: AbortSignal): Promise<readonly string[]>;
}
