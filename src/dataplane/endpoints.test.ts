import { expect, test } from 'bun:test';
import { endpointOwner, formatMark, parseMark } from './endpoints.ts';

const mark = {
  container: 'a'.repeat(64),
  interface: 'eth0',
  network: 'pods',
  addresses: ['10.244.1.2/24', 'fd00::2/64'],
};

test('a mark tells who, which network and which addresses', () => {
  expect(parseMark(formatMark(mark))).toEqual(mark);
  expect(formatMark(mark).split(' ')[0]).toBe(endpointOwner(mark.container, mark.interface));
  expect(parseMark(formatMark({ ...mark, network: '', addresses: [] }))).toEqual({
    ...mark,
    network: '',
    addresses: [],
  });
});

test('a mark never exceeds what the kernel keeps: the network’s name gives way', () => {
  const long = { ...mark, container: 'c'.repeat(128), network: 'n'.repeat(128) };
  expect(formatMark(long).length).toBeLessThanOrEqual(255);
  expect(parseMark(formatMark(long))).toEqual({ ...long, network: '' });
});

test('the pod is told where it fits, and only a pod’s name is', () => {
  const pod = { namespace: 'shop', name: 'web-0.db' };
  expect(parseMark(formatMark({ ...mark, pod }))).toEqual({ ...mark, pod });
  for (const name of ['p'.repeat(200), 'a b', 'a/b', '']) {
    expect(parseMark(formatMark({ ...mark, pod: { namespace: 'shop', name } }))).toEqual(mark);
  }
});

test('other aliases are not ours', () => {
  for (const alias of ['', 'godwit:bridge', 'uplink', 'godwit:a/eth0', 'xgodwit:a/eth0 n 10.0.0.1/24']) {
    expect(parseMark(alias)).toBeUndefined();
  }
});
