/** The sources that a configuration asks for. */
import type { Datastore } from '../datastore/mod.ts';
import { needsStatus } from './announce.ts';
import type { GatewayConfig } from './config.ts';
import { CalicoSource, FlannelSource, StatusSource } from './sources/mod.ts';
import type { Source } from './sources/mod.ts';

export function openSources(config: GatewayConfig, store: Datastore): Source[] {
  const { source, announce } = config;
  const sources: Source[] = [
    source.type === 'flannel' ? new FlannelSource(store, source.etcdPrefix) : new CalicoSource(store),
  ];
  if (needsStatus(announce)) sources.push(new StatusSource(store));
  return sources;
}
