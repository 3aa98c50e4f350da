/**
 * Labels of a pod's namespace, for pools with a namespaceSelector. Its name is known always; the rest stands in the profile
 * that Calico's controllers keep in the datastore for every namespace of Kubernetes.
 */
import { z } from 'zod';
import { printable } from '../../base/mod.ts';
import type { Logger } from '../../base/mod.ts';
import { parseRecord } from '../../datastore/mod.ts';
import type { Datastore } from '../../datastore/mod.ts';
import type { Labels } from '../../model/mod.ts';

const PREFIX = 'pcns.';
export const profileKey = (namespace: string): string =>
  `/calico/resources/v3/projectcalico.org/profiles/kns.${namespace}`;

const profile = z.looseObject({
  spec: z.looseObject({ labelsToApply: z.record(z.string(), z.string()).default({}) }).default({ labelsToApply: {} }),
});

/** Throws what the datastore throws. A profile that cannot be read leaves the name alone. */
export async function namespaceLabels(store: Datastore, namespace: string, log: Logger): Promise<Labels> {
  const key = profileKey(namespace);
  const { kv } = await store.get(key);
  const parsed = kv && parseRecord(profile, kv.value);
  if (parsed?.ok === false)
    log.warn({ key: printable(key), reason: printable(parsed.error) }, 'the labels of a namespace cannot be read');
  const told = Object.entries(parsed?.ok === true ? parsed.value.spec.labelsToApply : {});
  return {
    ...Object.fromEntries(
      told.filter(([label]) => label.startsWith(PREFIX)).map(([label, value]) => [label.slice(PREFIX.length), value]),
    ),
    ...{ 'projectcalico.org/name': namespace, 'kubernetes.io/metadata.name': namespace },
  };
}
