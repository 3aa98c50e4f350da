import { afterAll, beforeAll, describe, expect, test } from 'bun:test';
import { join } from 'node:path';
import { IpipTunnelDriver } from '../../src/dataplane/mod.ts';
import { ip } from '../../src/net/mod.ts';
import { Rtnetlink } from '../../src/netlink/mod.ts';
import { have } from '../support/peers.ts';
import { TestNamespaces, until } from '../support/netns.ts';
import { UserModeLinux } from '../support/uml.ts';

const here = have(
  'IPIP against a real tunl0 in User Mode Linux',
  'linux.uml',
  'insmod',
  'ip',
  'ping',
  'nc',
  '/dev/net/tun',
);

// node1: this kernel, the BPF form; node2: User Mode Linux, ipip.ko; one tap between them
describe.skipIf(!here)('the two forms of IPIP understand each other', () => {
  const spaces = new TestNamespaces();
  let guest: UserModeLinux;
  let driver: IpipTunnelDriver;

  beforeAll(async () => {
    const space = spaces.add('n1');
    spaces.run(
      'n1',
      'sh',
      '-c',
      'ip link set lo up; ip tuntap add tap0 mode tap; ip addr add 192.168.1.2/24 dev tap0; ip link set tap0 up',
    );
    driver = new IpipTunnelDriver(Rtnetlink.in(space));
    const form = space.run(() =>
      driver.apply({
        ...{ device: 'tunl0', uplink: 'tap0', mtu: 1480, local: ip('192.168.1.2'), address: ip('10.233.1.1') },
        peers: new Set([ip('192.168.1.3')]),
      }),
    );
    expect(form).toBe('bpf');
    spaces.run('n1', 'ip', 'route', 'add', '10.233.2.0/24', 'via', '192.168.1.3', 'dev', 'tunl0', 'onlink');
    const bun = process.execPath;
    guest = new UserModeLinux(
      `
      ip addr add 192.168.1.3/24 dev vec0 && ip link set vec0 up && sysctl -qw net.ipv4.ip_forward=1 || exit 1
      ${bun} ${join(import.meta.dir, 'guest.ts')} > "$UML_DIR/form" || exit 1
      ip route add 10.233.1.0/24 via 192.168.1.2 dev tunl0 onlink || exit 1
      ip -d link show tunl0 > "$UML_DIR/link"
      ping -c 3 -i 0.2 -W 2 10.233.1.1 > "$UML_DIR/ping" 2>&1
      (head -c 300000 /dev/zero | nc -l -p 7000 -q 1) &
      echo up > "$UML_DIR/ready"
      while [ ! -e "$UML_DIR/stop" ]; do sleep 0.1; done
      `,
      {
        modules: ['net/ipv4/tunnel4', 'net/ipv4/ip_tunnel', 'net/ipv4/ipip'],
        namespace: spaces.name('n1'),
        tap: 'tap0',
      },
    );
    await until('the guest is up', () => guest.read('ready') ?? guest.read('status'), 50_000);
  });
  afterAll(async () => {
    guest.write('stop', '');
    await guest.finished(10_000);
    await guest[Symbol.asyncDispose]();
    driver[Symbol.dispose]();
    spaces[Symbol.dispose]();
  });

  test('the guest uses ipip.ko, by the same driver', () => {
    expect(guest.read('form')).toBe('form: kernel\n');
    expect(guest.read('link')).toMatch(/tunl0@NONE: .*mtu 1480.*ipip/s);
  });

  test('pings cross both ways', () => {
    expect(guest.read('ping')).toContain(' 0% packet loss');
    expect(spaces.run('n1', 'ping', '-c', '3', '-i', '0.2', '-W', '2', '10.233.2.1')).toContain(' 0% packet loss');
  });

  test('a TCP stream crosses whole', () => {
    const bytes = spaces.run('n1', 'sh', '-c', 'nc -w 10 10.233.2.1 7000 < /dev/null | wc -c');
    expect(Number(bytes)).toBe(300_000);
  });
});
