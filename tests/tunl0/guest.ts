// Runs inside User Mode Linux: node2 of a pair, with the kernel's own tunl0, set up by the same driver as anywhere.
import { IpipTunnelDriver } from '../../src/dataplane/mod.ts';
import { ip } from '../../src/net/mod.ts';
import { Rtnetlink } from '../../src/netlink/mod.ts';

const driver = new IpipTunnelDriver(new Rtnetlink());
const form = driver.apply({
  ...{ device: 'tunl0', uplink: 'vec0', mtu: 1480, local: ip('192.168.1.3'), address: ip('10.233.2.1') },
  peers: new Set([ip('192.168.1.2')]),
});
console.log(`form: ${form}`);
