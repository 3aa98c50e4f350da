// node1: this kernel, the BPF form of IPIP; node2: User Mode Linux, ipip.ko; one tap between them.
import { afterAll, beforeAll, describe, expect, test } from 'bun:test';
import { join } from 'node:path';
import { IpipPart } from '../../src/dataplane/mod.ts';
import { addressBytes, ip } from '../../src/net/mod.ts';
import { AF, openSocket, sendTo, SOCK } from '../../src/sys/mod.ts';
import { udp } from '../support/frames.ts';
import { have } from '../support/peers.ts';
import { TestNamespaces, until } from '../support/netns.ts';
import { pass, tunnelKernel } from '../support/routed-nodes.ts';
import { UserModeLinux } from '../support/uml.ts';

const here = have(
  'IPIP against a real tunl0 in User Mode Linux',
  'linux.uml',
  'insmod',
  'ip',
  'tc',
  'ping',
  'nc',
  '/dev/net/tun',
);

describe.skipIf(!here)('the two forms of IPIP understand each other', () => {
  const spaces = new TestNamespaces();
  let guest: UserModeLinux;
  let part: IpipPart;

  beforeAll(async () => {
    const space = spaces.add('n1');
    spaces.run(
      'n1',
      'sh',
      '-c',
      'ip link set lo up; ip tuntap add tap0 mode tap; ip addr add 192.168.1.2/24 dev tap0; ip link set tap0 up',
    );
    part = new IpipPart(tunnelKernel(space));
    part.setDesired({
      ...{ device: 'tunl0', uplink: 'tap0', mtu: 1480, local: ip('192.168.1.2'), address: ip('10.233.1.1') },
      peers: new Set([ip('192.168.1.3')]),
    });
    pass(part);
    expect(part.form()).toBe('bpf');
    spaces.run('n1', 'ip', 'route', 'add', '10.233.2.0/24', 'via', '192.168.1.3', 'dev', 'tunl0', 'onlink');
    const node = `${process.execPath} ${join(import.meta.dir, 'guest.ts')}`;
    guest = new UserModeLinux(
      `
      step() { while [ ! -e "$UML_DIR/$1" ]; do sleep 0.1; done; }
      ip addr add 192.168.1.3/24 dev vec0 && ip addr add 192.168.1.99/24 dev vec0 && ip link set vec0 up && sysctl -qw net.ipv4.ip_forward=1 || exit 1
      ${node} present 192.168.1.3 192.168.1.2 > "$UML_DIR/made" || exit 1
      ip route add 10.233.1.0/24 via 192.168.1.2 dev tunl0 onlink || exit 1
      ip -d link show tunl0 > "$UML_DIR/link"
      ping -c 3 -i 0.2 -W 2 10.233.1.1 > "$UML_DIR/ping" 2>&1
      (head -c 300000 /dev/zero | nc -l -p 7000 -q 1) &
      echo up > "$UML_DIR/ready"
      for round in 1 2; do
        step count$round
        cat /sys/class/net/tunl0/statistics/rx_packets > "$UML_DIR/counted$round.new"
        mv "$UML_DIR/counted$round.new" "$UML_DIR/counted$round"
      done
      step take
      ${node} watch 192.168.1.3 192.168.1.2 > "$UML_DIR/watched" &
      while ! grep -q sync "$UML_DIR/watched"; do sleep 0.1; done
      tc filter del dev vec0 ingress
      wait $!
      tc filter show dev vec0 ingress > "$UML_DIR/again"
      echo up > "$UML_DIR/back"
      step harm
      tc qdisc del dev vec0 clsact; ip addr flush dev tunl0; ip link set tunl0 mtu 1400 down
      ${node} present 192.168.1.3 192.168.1.9 > "$UML_DIR/repaired"
      ip route add 10.233.1.0/24 via 192.168.1.2 dev tunl0 onlink
      tc filter show dev vec0 ingress > "$UML_DIR/guard"
      echo up > "$UML_DIR/guarded"
      step leave
      ${node} absent 192.168.1.3 > "$UML_DIR/waits"
      ip route del 10.233.1.0/24
      ${node} absent 192.168.1.3 > "$UML_DIR/gone"
      (ip addr show dev tunl0; tc filter show dev vec0 ingress) > "$UML_DIR/left"
      echo done > "$UML_DIR/done"
      step stop
      `,
      {
        // this kernel's nf_tables has no family compiled in: the guard is a program here
        modules: [
          ...['net/ipv4/tunnel4', 'net/ipv4/ip_tunnel', 'net/ipv4/ipip'],
          ...['net/netfilter/nfnetlink', 'net/netfilter/nf_tables', 'net/sched/sch_ingress', 'net/sched/cls_bpf'],
        ],
        namespace: spaces.name('n1'),
        tap: 'tap0',
      },
    );
    await until('the guest is up', () => guest.read('ready') ?? guest.read('status'), 100_000);
    if (guest.read('ready') === undefined)
      throw new Error(`the guest ended: ${guest.read('made') ?? ''}${guest.read('output') ?? ''}`);
  }, 110_000);
  afterAll(async () => {
    for (const step of ['count1', 'count2', 'take', 'harm', 'leave', 'stop']) guest.write(step, '');
    await guest.finished(10_000);
    await guest[Symbol.asyncDispose]();
    part[Symbol.dispose]();
    spaces[Symbol.dispose]();
  });
  const ping = () => spaces.status('n1', 'ping', '-c', '3', '-i', '0.2', '-W', '2', '10.233.2.1');

  test('the guest uses ipip.ko, by the same part', () => {
    expect(guest.read('made')).toMatch(/^in sync after \d+ changes, form kernel\n/);
    expect(guest.read('link')).toMatch(/tunl0@NONE: .*mtu 1480.*ipip.*alias godwit:ipip/s);
  });

  test('pings cross both ways', () => {
    expect(guest.read('ping')).toContain(' 0% packet loss');
    expect(ping()).toBe(0);
  });

  test('a TCP stream crosses whole', async () => {
    const bytes = () => Number(spaces.run('n1', 'sh', '-c', 'nc -w 30 10.233.2.1 7000 < /dev/null | wc -c'));
    expect(await until('the guest listens', () => bytes() || undefined)).toBe(300_000);
  });

  test('nothing is taken that comes to another address of the node', async () => {
    const counted = async (round: number) => {
      guest.write(`count${round}`, '');
      return Number(await until('the count', () => guest.read(`counted${round}`)));
    };
    const before = await counted(1);
    using socket = spaces.get('n1').run(() => openSocket(AF.INET, SOCK.RAW, 4));
    const to = (address: string) => Uint8Array.of(AF.INET, 0, 0, 0, ...addressBytes(ip(address)), ...new Uint8Array(8));
    const inner = Uint8Array.from(udp(ip('10.233.1.1'), ip('10.233.2.1')));
    for (const address of ['192.168.1.99', '192.168.1.99', '192.168.1.3']) sendTo(socket, inner, to(address));
    expect(ping()).toBe(0);
    // the last one, and three pings
    expect((await counted(2)) - before).toBe(4);
  });

  test('a filter taken off is noticed and comes back', async () => {
    guest.write('take', '');
    await until('it is back', () => guest.read('back') ?? guest.read('status'), 60_000);
    expect(guest.read('watched')).toMatch(/^in sync after \d changes.*\nharmed\nin sync after \d changes/);
    expect(guest.read('again')).toContain('gwipip_');
    expect(ping()).toBe(0);
  });

  test('put right after harm; protocol 4 is taken only from known nodes (F32)', async () => {
    guest.write('harm', '');
    await until('the guest has repaired', () => guest.read('guarded') ?? guest.read('status'), 60_000);
    expect(guest.read('repaired')).toMatch(/^in sync after [4-9] changes, form kernel\n/);
    expect(guest.read('guard')).toContain('gwipip_');
    expect(ping()).not.toBe(0);
  });

  test('not wanted: it waits for the routes, then only the module’s own device is left, empty', async () => {
    guest.write('leave', '');
    await until('the guest has left', () => guest.read('done') ?? guest.read('status'), 60_000);
    expect(guest.read('waits')).toBe('in sync after 0 changes, form kernel\n');
    expect(guest.read('gone')).toMatch(/^in sync after \d changes, form none\n/);
    expect(guest.read('left')).not.toMatch(/inet |godwit|gwipip|UP/);
  });
});
