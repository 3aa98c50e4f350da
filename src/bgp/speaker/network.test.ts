// The real network, on loopback: what becomes of connections that end before anybody has seen them.
import { expect, test } from 'bun:test';
import { addressBytes, ip } from '../../net/mod.ts';
import { systemClock } from '../../base/mod.ts';
import { beginConnect, connectionState, setOption, SOL } from '../../sys/mod.ts';
import { BunSocket, TcpNetwork } from './network.ts';
import type { Socket } from './network.ts';

const local = ip('127.0.0.1');
const SO_LINGER = 13;
/** struct linger: on, no time. */
const RESET_ON_CLOSE = new Uint8Array(Int32Array.of(1, 0).buffer);
const network = new TcpNetwork(systemClock);

test('a socket without addresses, as one that was reset before it was seen, is none', () => {
  let ended = 0;
  const raw = { remoteAddress: undefined, localAddress: '127.0.0.1', remotePort: 179, terminate: () => ended++ };
  expect(BunSocket.of(raw as unknown as Bun.Socket<BunSocket>)).toBeUndefined();
  expect(ended).toBe(1);
});

test('every attempt ends in one call, also when the peer resets it at once', async () => {
  const server = Bun.listen({ hostname: local, port: 0, socket: { open: (raw) => raw.terminate(), data() {} } });
  try {
    for (let i = 0; i < 100; i++) {
      const calls: string[] = [];
      const { promise, resolve } = Promise.withResolvers<void>();
      const told = (what: string) => {
        calls.push(what);
        resolve();
      };
      const connected = (socket: Socket) => {
        socket.handlers = { data() {}, drain() {}, closed: () => {} };
        told('connected');
      };
      using _attempt = network.dial({ remote: local, port: server.port, ttl: 64, minimumTtl: 0 }, connected, told);
      await promise;
      await Bun.sleep(1);
      expect(calls).toHaveLength(1);
    }
  } finally {
    server.stop(true);
  }
});

test('a connection that is reset before it is accepted is no event', async () => {
  const accepted: string[] = [];
  using listener = network.listen(local, 0, (socket) => {
    accepted.push(socket.remote);
    socket.abort();
  });
  for (let round = 0; round < 20; round++) {
    // all in one turn: they are connected, and reset, before the listener gets to see them
    for (let i = 0; i < 20; i++) {
      const fd = beginConnect({ remote: addressBytes(local), port: listener.port });
      setOption(fd, SOL.SOCKET, SO_LINGER, RESET_ON_CLOSE);
      expect(connectionState(fd)).toBe('connected');
      fd.close();
    }
    await Bun.sleep(1);
  }
  expect(accepted.filter((address) => address !== local)).toEqual([]);
});
