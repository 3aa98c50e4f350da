// Runs inside User Mode Linux: node2 of a pair, with the kernel's own tunl0, kept by the same part as anywhere.
// Usage: guest.ts present|absent|watch OWN-ADDRESS PEER-ADDRESS...; `watch` goes on until it was harmed and put right.
import { Caretaker, IpipPart, openSysctls } from '../../src/dataplane/mod.ts';
import { ip } from '../../src/net/mod.ts';
import { Rtnetlink } from '../../src/netlink/mod.ts';
import { openNftables } from '../../src/nft/mod.ts';

const netlink = new Rtnetlink();
const part = new IpipPart(
  { netlink, sysctls: openSysctls(), nft: openNftables, inside: (action) => action() },
  { quietMs: 0 },
);
const caretaker = new Caretaker();
caretaker.add(part);
const [action = '', local = '', ...peers] = process.argv.slice(2);
part.setDesired(
  action === 'absent'
    ? 'absent'
    : {
        ...{ device: 'tunl0', uplink: 'vec0', mtu: 1480, local: ip(local), address: ip('10.233.2.1') },
        peers: new Set(peers.map(ip)),
      },
);
function look(): void {
  const good = caretaker.pass();
  const [status] = caretaker.status();
  console.log(`${good ? 'in sync' : status?.problem} after ${status?.changes} changes, form ${part.form() ?? 'none'}`);
}
look();
if (action === 'watch') {
  const end = performance.now() + 60_000;
  while (!part.harmed() && performance.now() < end) await Bun.sleep(50);
  console.log(part.harmed() ? 'harmed' : 'nothing was done to it');
  look();
}
