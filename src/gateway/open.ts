/** The sources that a configuration asks for. */
import { GodwitError } from '../base/mod.ts';
import type { Datastore } from '../datastore/mod.ts';
import { needsStatus } from './announce.ts';
import type { GatewayConfig } from './config.ts';
import { inClusterAccess, kubeconfigAccess } from './kubernetes/access.ts';
import { CalicoSource, FlannelSource, KubernetesSource, StatusSource } from './sources/mod.ts';
import type { Source } from './sources/mod.ts';

/** Kubernetes says by itself whether its nodes are ready. */
export const needsDatastore = ({ source }: GatewayConfig): boolean => source.type !== 'kubernetes';

/** `store` is needed unless `needsDatastore` says otherwise. Throws GodwitError. */
export function openSources(config: GatewayConfig, store: Datastore | undefined): Source[] {
  const { source, announce } = config;
  if (source.type === 'kubernetes') {
    const { kubeconfig } = source;
    return [new KubernetesSource(kubeconfig === undefined ? inClusterAccess() : kubeconfigAccess(kubeconfig))];
  }
  if (!store) throw new GodwitError('config', `source ${source.type} needs a datastore`);
  const owners = source.type === 'flannel' ? new FlannelSource(store, source.etcdPrefix) : new CalicoSource(store);
  return needsStatus(announce) ? [owners, new StatusSource(store)] : [owners];
}
