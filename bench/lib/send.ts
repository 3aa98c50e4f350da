// Sends UDP datagrams as fast as one processor can, and says how much of its time that took, in milliseconds:
// `send.ts ADDRESS COUNT BYTES`, once for each line of standard input. Started in a pod's namespace and held to one
// processor, it is charged for the whole way of its packets through veths, routes and tunnels, up to where they are dropped.
import { AF, openSocket, sendTo, SOCK } from '../../src/sys/mod.ts';

const [address, count, bytes] = process.argv.slice(2) as [string, string, string];
const PORT = 9;
const to = Uint8Array.of(AF.INET, 0, PORT >> 8, PORT & 255, ...address.split('.').map(Number), ...new Uint8Array(8));
const payload = new Uint8Array(Number(bytes));
using socket = openSocket(AF.INET, SOCK.DGRAM, 0);
console.log('ready');
for await (const _ of console) {
  const before = process.cpuUsage();
  for (let n = Number(count); n > 0; n--) sendTo(socket, payload, to);
  const { user, system } = process.cpuUsage(before);
  console.log(String((user + system) / 1000));
}
