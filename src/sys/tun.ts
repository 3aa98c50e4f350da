/** TUN devices: network interfaces whose other end is a file descriptor. */
import { Fd, openFd } from './fd.ts';
import { check, NR, syscall } from './syscall.ts';

const O_RDWR_NONBLOCK = 0x802;
const TUNSETIFF = 0x400454ca;
const TUNSETPERSIST = 0x400454cb;
const TUNSETOFFLOAD = 0x400454d0;
const IFF_TUN_NO_PI = 0x1001;
const TUN_F_CSUM_TSO4_TSO6 = 7;
const IFREQ_LENGTH = 40;

/**
 * Opens the TUN device of that name in this thread's namespace, making it when it is missing. It outlives this process;
 * while nobody holds the descriptor it is shown without carrier (`linkdown`), but forwards all the same. EBUSY: another
 * process holds it.
 */
export function openTun(name: string): Fd {
  const fd = openFd('/dev/net/tun', O_RDWR_NONBLOCK);
  try {
    const request = new Uint8Array(IFREQ_LENGTH);
    request.set(new TextEncoder().encode(name).subarray(0, 15));
    new DataView(request.buffer).setUint16(16, IFF_TUN_NO_PI, true);
    check(`TUN device ${name}`, syscall(NR.ioctl, fd.number, TUNSETIFF, request));
    // whole GSO packets come through: the program at its egress can tunnel them unsplit
    check(`offloads of ${name}`, syscall(NR.ioctl, fd.number, TUNSETOFFLOAD, TUN_F_CSUM_TSO4_TSO6));
    check(`persistence of ${name}`, syscall(NR.ioctl, fd.number, TUNSETPERSIST, 1));
    return fd;
  } catch (error) {
    fd.close();
    throw error;
  }
}
