import { runTool } from './process.ts';

/** Lets a test move the calendar of one process. */
export const libfaketime = `/usr/lib/${process.arch === 'arm64' ? 'aarch64' : 'x86_64'}-linux-gnu/faketime/libfaketime.so.1`;

/** Every Debian package the tests and benchmarks use, and a file that shows it is there. */
export const testPackages: readonly { package: string; provides: string }[] = [
  { package: 'iproute2', provides: '/usr/sbin/ip' },
  { package: 'iputils-ping', provides: '/usr/bin/ping' },
  { package: 'etcd-server', provides: '/usr/bin/etcd' },
  { package: 'etcd-client', provides: '/usr/bin/etcdctl' },
  { package: 'nftables', provides: '/usr/sbin/nft' },
  { package: 'strace', provides: '/usr/bin/strace' },
  { package: 'bird2', provides: '/usr/sbin/bird' },
  { package: 'frr', provides: '/usr/lib/frr/bgpd' },
  { package: 'gobgpd', provides: '/usr/bin/gobgpd' },
  { package: 'openbgpd', provides: '/usr/sbin/bgpd' },
  { package: 'exabgp', provides: '/usr/sbin/exabgp' },
  { package: 'user-mode-linux', provides: '/usr/bin/linux.uml' },
  { package: 'kmod', provides: '/usr/sbin/insmod' },
  { package: 'netcat-openbsd', provides: '/usr/bin/nc' },
  { package: 'containernetworking-plugins', provides: '/usr/lib/cni/bridge' },
  { package: 'openssl', provides: '/usr/bin/openssl' },
  { package: 'iptables', provides: '/usr/sbin/iptables' },
  { package: 'podman', provides: '/usr/bin/podman' },
  { package: 'runc', provides: '/usr/sbin/runc' },
  { package: 'qemu-user-static', provides: '/usr/bin/qemu-aarch64-static' },
  { package: 'libfaketime', provides: libfaketime },
  { package: 'busybox-static', provides: '/usr/bin/busybox' },
];

/**
 * Installs what is missing of `testPackages`, as root on Debian; starts no service (a policy-rc.d that says no stands in
 * for the time of the installation). Elsewhere, or with GODWIT_TEST_INSTALL=0, says what is missing and goes on.
 */
export async function installTestPackages(): Promise<void> {
  const missing: string[] = [];
  for (const p of testPackages) if (!(await Bun.file(p.provides).exists())) missing.push(p.package);
  if (missing.length === 0) return;
  const list = missing.join(' ');
  const able = process.getuid?.() === 0 && (await Bun.file('/usr/bin/apt-get').exists());
  if (!able || process.env['GODWIT_TEST_INSTALL'] === '0') {
    console.log(`missing Debian packages, suites that need them are skipped: ${list}`);
    return;
  }
  console.log(`installing Debian packages for the tests (no service is started): ${list}`);
  const policy = '/usr/sbin/policy-rc.d';
  const ours = !(await Bun.file(policy).exists());
  if (ours) {
    await Bun.write(policy, '#!/bin/sh\nexit 101\n');
    await runTool(['chmod', '755', policy]);
  }
  try {
    const environment = { DEBIAN_FRONTEND: 'noninteractive' };
    const install = ['apt-get', 'install', '-y', '-q', '--no-install-recommends', ...missing];
    await runTool(['apt-get', 'update', '-q'], environment);
    if ((await runTool(install, environment)) !== 0)
      console.log('apt-get failed; suites without their peer are skipped');
  } finally {
    if (ours) await Bun.file(policy).delete();
  }
}
