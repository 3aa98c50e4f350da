/** ICMP as it comes in, for what the kernel has no user of: errors about packets another program or BPF sent. */
import type { Fd } from './fd.ts';
import { AF, openSocket, setOption, SOCK, SOL } from './socket.ts';
import { ptrOf } from './syscall.ts';

const IPPROTO_ICMP = 1;
const SOL_RAW = 255;
const ICMP_FILTER = 1;
const SO_ATTACH_FILTER = 26;
const DESTINATION_UNREACHABLE = 3;
const FRAGMENTATION_NEEDED = 4;
const ICMP_HEADER = 8;
/** Offsets in the ICMP message: its code, and the protocol of the packet it quotes. */
const [CODE, QUOTED_PROTOCOL] = [1, ICMP_HEADER + 9];

/** Classic BPF (struct sock_filter): code, jump if true, jump if false, operand. */
function filter(...instructions: readonly (readonly [number, number, number, number])[]): Uint8Array {
  const bytes = new Uint8Array(instructions.length * 8);
  const view = new DataView(bytes.buffer);
  for (const [i, [code, whenTrue, whenFalse, operand]] of instructions.entries()) {
    view.setUint16(i * 8, code, true);
    bytes.set([whenTrue, whenFalse], i * 8 + 2);
    view.setUint32(i * 8 + 4, operand, true);
  }
  return bytes;
}

/**
 * A raw socket that receives whole IPv4 packets with "fragmentation needed" messages (RFC 792, RFC 1191) about packets of
 * one protocol, and nothing else; in the namespace this thread is in.
 */
export function openTooBig(protocol: number): Fd {
  const fd = openSocket(AF.INET, SOCK.RAW | SOCK.NONBLOCK, IPPROTO_ICMP);
  try {
    setOption(fd, SOL_RAW, ICMP_FILTER, ~(1 << DESTINATION_UNREACHABLE));
    const program = filter(
      [0xb1, 0, 0, 0], // x = length of the IP header
      [0x50, 0, 0, CODE], // byte at x + …
      [0x15, 0, 3, FRAGMENTATION_NEEDED],
      [0x50, 0, 0, QUOTED_PROTOCOL],
      [0x15, 0, 1, protocol],
      [0x06, 0, 0, 0xffff], // take it
      [0x06, 0, 0, 0],
    );
    // struct sock_fprog
    const description = new Uint8Array(16);
    const view = new DataView(description.buffer);
    view.setUint16(0, program.length / 8, true);
    view.setBigUint64(8, BigInt(ptrOf(program)), true);
    setOption(fd, SOL.SOCKET, SO_ATTACH_FILTER, description);
    return fd;
  } catch (error) {
    fd.close();
    throw error;
  }
}
