// pod p1 - node1 (this kernel, the BPF form) - router - 1400 bytes - router - tap - node2 (User Mode Linux, ipip.ko) - pod:
// both uplinks take 1500 bytes, and nothing may vanish in the tunnel, whichever form has to learn.
import { afterAll, beforeAll, describe, expect, test } from 'bun:test';
import { join } from 'node:path';
import { until } from '../support/netns.ts';
import { have } from '../support/peers.ts';
import { RoutedNodes } from '../support/routed-nodes.ts';
import { TunnelledNode } from '../support/tunnelled-node.ts';
import { UserModeLinux } from '../support/uml.ts';

const here = have('path MTU with a real tunl0', 'linux.uml', 'insmod', 'ip', 'tc', 'ping', 'nc', '/dev/net/tun');
const BYTES = 2_000_000;

describe.skipIf(!here)('a smaller link between the two forms of IPIP', () => {
  let net: RoutedNodes;
  let node: TunnelledNode;
  let guest: UserModeLinux;

  beforeAll(async () => {
    net = new RoutedNodes();
    net.bottleneck(2, 1400);
    net.in(
      'r2',
      'ip tuntap add tap0 mode tap; ip addr add 192.168.2.1/24 dev tap0; ip link set tap0 up; ip link set lo up',
    );
    const one = net.add(1);
    net.addPod(1);
    node = new TunnelledNode(1, one);
    const run = `${process.execPath} ${join(import.meta.dir, 'guest.ts')}`;
    guest = new UserModeLinux(
      `
      step() { while [ ! -e "$UML_DIR/$1" ]; do sleep 0.1; done; }
      say() { cat > "$UML_DIR/$1.new"; mv "$UML_DIR/$1.new" "$UML_DIR/$1"; }
      pod() { ip netns exec pod "$@"; }
      ip addr add 192.168.2.2/24 dev vec0 && ip link set vec0 up && ip route add default via 192.168.2.1 || exit 1
      sysctl -qw net.ipv4.ip_forward=1
      ${run} present 192.168.2.2 192.168.1.2 > "$UML_DIR/made" || exit 1
      ip route add 10.233.1.0/26 via 192.168.1.2 dev tunl0 onlink
      ip netns add pod && ip link add cali2 type veth peer name eth0 netns pod && ip link set cali2 up || exit 1
      sysctl -qw net.ipv4.conf.cali2.proxy_arp=1; ip route add 10.233.2.2 dev cali2
      pod ip link set lo up; pod ip link set eth0 up; pod ip addr add 10.233.2.2/32 dev eth0
      pod ip route add 169.254.1.1 dev eth0; pod ip route add default via 169.254.1.1
      echo up | say ready
      step cut
      pod ping -c 4 -i 0.3 -W 5 -M dont -s 1432 10.233.1.2 2>&1 | say whole
      pod ping -c 4 -i 0.3 -W 5 -M dont -s 4000 10.233.1.2 2>&1 | say large
      step told
      (for i in 1 2 3; do pod ping -c 1 -W 1 -M do -s 1432 10.233.1.2; done; pod ping -c 2 -i 0.2 -W 5 -M do -s 1352 10.233.1.2) 2>&1 | say df
      step stream
      (head -c ${BYTES} /dev/zero | pod nc -l -p 7000 -q 1) &
      for i in 1 2 3 4 5 6 7 8; do pod nc -w 20 10.233.1.2 7000 < /dev/null | wc -c | grep -v '^0' && break; sleep 0.3; done | say received
      step stop
      `,
      {
        modules: [
          ...['net/ipv4/tunnel4', 'net/ipv4/ip_tunnel', 'net/ipv4/ipip', 'drivers/net/veth'],
          ...['net/netfilter/nfnetlink', 'net/netfilter/nf_tables', 'net/sched/sch_ingress', 'net/sched/cls_bpf'],
        ],
        namespace: net.spaces.name('r2'),
        tap: 'tap0',
      },
    );
    const ended = () => guest.read('status') !== undefined;
    await until('the guest is up', () => guest.read('ready') ?? ended(), 100_000);
    if (ended()) throw new Error(`the guest ended: ${guest.read('made') ?? ''}${guest.read('output') ?? ''}`);
    expect(guest.read('made')).toMatch(/form kernel\n/);
    await until('small packets cross', () => net.ping('p1', '10.233.2.2'));
  }, 110_000);
  afterAll(async () => {
    for (const step of ['cut', 'told', 'stream', 'stop']) guest.write(step, '');
    await guest.finished(10_000);
    await guest[Symbol.asyncDispose]();
    node[Symbol.dispose]();
    net[Symbol.dispose]();
  });

  const routed = () => net.in('n1', 'ip route show 10.233.2.0/26');
  const answers = (text: string) => Number(/(\d+) received/.exec(text)![1]);

  test('what may be cut arrives at the BPF form, in pieces that the kernel puts together', async () => {
    expect(routed()).not.toContain('mtu');
    guest.write('cut', '');
    const [whole, large] = [await step('whole'), await step('large')];
    // the first answers may be lost: they teach node1 the size of the path
    expect(answers(whole)).toBeGreaterThanOrEqual(2);
    expect(answers(large)).toBe(4);
    expect(routed()).toContain('mtu 1380');
    const [names, numbers] = net
      .in('n1', 'grep ^Ip: /proc/net/snmp')
      .split('\n')
      .map((line) => line.split(' '));
    // four of 1480 bytes and eight pieces of 4000 at least
    expect(Number(numbers![names!.indexOf('ReasmOKs')])).toBeGreaterThanOrEqual(8);
  }, 90_000);

  test('ipip.ko learns the size of the path by itself, and tells the pod', async () => {
    guest.write('told', '');
    const text = await step('df');
    expect(text).toContain('mtu = 1380');
    expect(text).toContain('2 packets transmitted, 2 received');
  }, 90_000);

  test('the other way, with DF and without', () => {
    expect(net.in('p1', 'ping -c 1 -W 5 -M do -s 1432 10.233.2.2 || true')).toContain('mtu = 1380');
    expect(net.ping('p1', '10.233.2.2', '-M', 'do', '-s', '1352')).toBe(true);
    expect(net.ping('p1', '10.233.2.2', '-M', 'dont', '-s', '4000')).toBe(true);
  });

  test('streams of large segments both ways', async () => {
    guest.write('stream', '');
    const received = () => net.in('p1', `nc -w 20 10.233.2.2 7000 < /dev/null | wc -c`);
    expect(await until('the guest’s stream', () => Number(received()) || undefined, 60_000)).toBe(BYTES);
    const server = Bun.spawn([
      'ip',
      'netns',
      'exec',
      net.spaces.name('p1'),
      'sh',
      '-c',
      `head -c ${BYTES} /dev/zero | nc -l -p 7000 -q 1`,
    ]);
    expect(Number(await step('received'))).toBe(BYTES);
    server.kill();
  }, 110_000);

  function step(name: string): Promise<string> {
    return until(name, () => guest.read(name), 80_000);
  }
});
