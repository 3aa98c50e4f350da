// Sends frames out of eth0 of the namespace it runs in, over and over, from the moment that there is one.
// Usage: spammer.ts TO-MAC KIND:HEX…; prints how many were sent, when it is told to end.
import { parseMac, macBytes } from '../../src/net/mod.ts';
import { Rtnetlink } from '../../src/netlink/mod.ts';
import { AF, KernelError, openSocket, sendTo, SOCK } from '../../src/sys/mod.ts';

const [to, ...payloads] = process.argv.slice(2);
const destination = macBytes(parseMac(to!)!);
const source = [0x0a, 0, 0, 0, 0, 1];
const frames = payloads.map((text) => {
  const [kind, hex] = text.split(':') as [string, string];
  return Uint8Array.of(
    ...destination,
    ...source,
    ...(kind === 'ipv6' ? [0x86, 0xdd] : [8, 0]),
    ...Buffer.from(hex, 'hex'),
  );
});
const netlink = new Rtnetlink();
const socket = openSocket(AF.PACKET, SOCK.RAW, 0);
const address = new Uint8Array(20);
const view = new DataView(address.buffer);
view.setUint16(0, AF.PACKET, true);
let [sent, over] = [0, false];
process.on('SIGTERM', () => (over = true));
process.stdout.write('ready\n');
while (!over) {
  const link = netlink.link('eth0');
  if (link) {
    view.setInt32(4, link.index, true);
    try {
      for (let i = 0; i < 20; i++) {
        for (const frame of frames) {
          sendTo(socket, frame, address);
          sent++;
        }
      }
    } catch (error) {
      // it is down still, or gone again
      if (!(error instanceof KernelError)) throw error;
    }
  }
  await Bun.sleep(1);
}
process.stdout.write(`${sent}\n`);
process.exit(0);
