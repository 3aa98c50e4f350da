import { expect, test } from 'bun:test';
import { dirname, join, normalize, relative } from 'node:path';

// Which folder may import which: ARCHITECTURE.md in a form that fails. `*` is everything.
const allowed: Record<string, readonly string[]> = {
  base: [],
  net: ['base'],
  sys: ['base'],
  netlink: ['base', 'net', 'sys'],
  bpf: ['base', 'sys'],
  nft: ['base', 'net', 'sys', 'netlink'],
  'bgp/wire': ['base', 'net'],
  'bgp/fsm': ['base', 'net', 'bgp/wire'],
  'bgp/rib': ['base', 'net', 'bgp/wire'],
  'bgp/policy': ['base', 'net', 'bgp/wire', 'bgp/rib'],
  'bgp/config': ['base', 'net', 'bgp/wire', 'bgp/policy'],
  'bgp/fib': ['base', 'net', 'bgp/wire', 'bgp/rib', 'desired'],
  'bgp/speaker': ['base', 'net', 'sys', 'bgp/wire', 'bgp/fsm', 'bgp/rib', 'bgp/policy', 'bgp/config', 'bgp/fib'],
  'bgp/control': ['base', 'net', 'bgp/wire', 'bgp/rib', 'bgp/config', 'bgp/speaker'],
  bgp: [
    'base',
    'net',
    'sys',
    'netlink',
    'desired',
    'bgp/wire',
    'bgp/fsm',
    'bgp/rib',
    'bgp/policy',
    'bgp/config',
    'bgp/fib',
    'bgp/speaker',
    'bgp/control',
  ],
  model: ['base', 'net'],
  datastore: ['base', 'model'],
  ipam: ['base', 'net', 'model', 'datastore'],
  desired: ['base', 'net'],
  calc: ['base', 'net', 'model', 'desired'],
  migrate: ['base', 'net', 'model', 'datastore', 'ipam'],
  reflectors: ['base', 'net', 'model', 'datastore', 'calc'],
  dataplane: ['base', 'net', 'sys', 'netlink', 'nft', 'bpf', 'desired'],
  status: ['base', 'net'],
  cni: ['base', 'shim', 'net', 'sys', 'netlink', 'model', 'ipam', 'dataplane', 'desired', 'status'],
  agent: ['*'],
  gateway: ['*'],
  trace: ['base', 'net', 'status', 'model', 'desired'],
  shim: ['base'],
  lab: ['base', 'net', 'sys', 'netlink', 'status', 'model', 'datastore', 'ipam', 'dataplane', 'cni'],
  cli: ['*'],
};

const root = join(import.meta.dir, '../src');

/** The folder of the table a file belongs to: the longest name that is one of its parents. */
function layerOf(path: string): string {
  const parts = path.split('/').slice(0, -1);
  for (let n = parts.length; n > 0; n--) {
    const name = parts.slice(0, n).join('/');
    if (name in allowed) return name;
  }
  return parts.join('/');
}

test('imports go one way, through mod.ts, and bun:ffi lives in src/sys', async () => {
  const faults: string[] = [];
  for await (const file of new Bun.Glob('**/*.ts').scan(root)) {
    const layer = layerOf(file);
    if (layer === '') continue; // src/main.ts is the top
    if (!(layer in allowed)) faults.push(`${file}: folder ${layer} is not in the table`);
    const text = await Bun.file(join(root, file)).text();
    for (const match of text.matchAll(/(?:from|import)\s*\(?\s*['"]([^'"]+)['"]/g)) {
      const target = match[1]!;
      if (target === 'bun:ffi' && layer !== 'sys') faults.push(`${file}: bun:ffi outside src/sys`);
      if (/child_process|node:dgram/.test(target)) faults.push(`${file}: ${target}`);
      if (!target.startsWith('.')) continue;
      const path = relative(root, normalize(join(root, dirname(file), target)));
      if (path.startsWith('..')) {
        // data that is part of the executable: scenarios are for users to read and copy
        const data = path.startsWith('../scenarios/') || path === '../package.json';
        if (!data && !file.endsWith('.test.ts')) faults.push(`${file}: imports ${target}, outside src`);
        continue;
      }
      const other = layerOf(path);
      if (other === layer) continue;
      const may = allowed[layer] ?? [];
      if (!may.includes('*') && !may.includes(other)) faults.push(`${file}: ${layer} must not import ${other}`);
      if (!path.endsWith('/mod.ts') && !file.endsWith('.test.ts')) faults.push(`${file}: ${target} goes past mod.ts`);
    }
  }
  expect(faults).toEqual([]);
});
