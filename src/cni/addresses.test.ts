import { expect, test } from 'bun:test';
import { MemoryStore } from '../../tests/support/memory-store.ts';
import { BlockIpam } from '../ipam/blocks/mod.ts';
import { parseGiven, ResourceClient } from '../model/mod.ts';
import { BlockAddresses } from './addresses.ts';
import { CniError } from './error.ts';

const PROFILE = '/calico/resources/v3/projectcalico.org/profiles/kns.shop';

async function world() {
  const store = new MemoryStore().client();
  const pools = {
    blue: ['10.1.0.0/24', 'team == "blue"'],
    green: ['10.2.0.0/24', 'projectcalico.org/name == "green"'],
  };
  for (const [name, [cidr, namespaceSelector]] of Object.entries(pools)) {
    const spec = { cidr, namespaceSelector };
    const parsed = parseGiven({ kind: 'IPPool', apiVersion: 'projectcalico.org/v3', metadata: { name }, spec });
    if (parsed.ok) await new ResourceClient(store).create(parsed.value);
  }
  const addresses = new BlockAddresses(new BlockIpam({ store, node: 'n1' }), () => 0);
  const give = async (handle: string, namespace: string | undefined) => {
    const pod = namespace === undefined ? undefined : { namespace, name: handle, uid: 'u' };
    const from = { families: undefined, pools: {}, exactly: false, ipam: false };
    const request = { handle, families: [4] as const, addresses: [], from, pod };
    return (await addresses.assign(request, new AbortController().signal)).join();
  };
  const refusal = (handle: string, namespace: string | undefined) =>
    give(handle, namespace).then(
      () => undefined,
      (error: unknown) => (error instanceof CniError ? error.code : error),
    );
  return { store, give, refusal };
}

test('a pool for a namespace, by its name and by the labels of its profile', async () => {
  const { store, give, refusal } = await world();
  expect(await give('a', 'green')).toStartWith('10.2.0.');
  expect(await refusal('b', 'shop')).toBe(101);
  await store.put(PROFILE, '{"spec":{"labelsToApply":{"pcns.team":"blue","team":"green"}}}');
  expect(await give('b', 'shop')).toStartWith('10.1.0.');
  // what is broken there takes the labels away, and nothing else
  for (const broken of ['{', '{"spec":{"labelsToApply":{"pcns.team":1}}}', '[]']) {
    await store.put(PROFILE, broken);
    expect(await refusal('c', 'shop')).toBe(101);
    expect(await give('a', 'green')).toStartWith('10.2.0.');
  }
  expect(await refusal('d', undefined)).toBe(101);
});
