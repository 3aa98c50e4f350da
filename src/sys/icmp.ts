/** ICMP as it comes in, for what the kernel has no user of: errors about packets another program or BPF sent. */
import type { Fd } from './fd.ts';
import { attachFilter } from './socket-filter.ts';
import { AF, openSocket, setOption, SOCK } from './socket.ts';

const IPPROTO_ICMP = 1;
const SOL_RAW = 255;
const ICMP_FILTER = 1;
const DESTINATION_UNREACHABLE = 3;
const FRAGMENTATION_NEEDED = 4;
const ICMP_HEADER = 8;
/** Offsets in the ICMP message: its code, and the protocol of the packet it quotes. */
const [CODE, QUOTED_PROTOCOL] = [1, ICMP_HEADER + 9];

/**
 * A raw socket that receives whole IPv4 packets with "fragmentation needed" messages (RFC 792, RFC 1191) about packets of
 * one protocol, and nothing else; in the namespace this thread is in.
 */
export function openTooBig(protocol: number): Fd {
  const fd = openSocket(AF.INET, SOCK.RAW | SOCK.NONBLOCK, IPPROTO_ICMP);
  try {
    setOption(fd, SOL_RAW, ICMP_FILTER, ~(1 << DESTINATION_UNREACHABLE));
    attachFilter(
      fd,
      [0xb1, 0, 0, 0], // x = length of the IP header
      [0x50, 0, 0, CODE], // byte at x + …
      [0x15, 0, 3, FRAGMENTATION_NEEDED],
      [0x50, 0, 0, QUOTED_PROTOCOL],
      [0x15, 0, 1, protocol],
      [0x06, 0, 0, 0xffff], // take it
      [0x06, 0, 0, 0],
    );
    return fd;
  } catch (error) {
    fd.close();
    throw error;
  }
}
