/** The listening sockets of a speaker, and what they demand of who connects. */
import { GodwitError, messageOf } from '../../base/mod.ts';
import { familyOf } from '../../net/mod.ts';
import type { IpAddress, Prefix } from '../../net/mod.ts';
import type { BgpConfig } from '../config/mod.ts';
import type { Listener, Network, Socket } from './network.ts';

export class Listeners implements Disposable {
  private readonly network: Network;
  private readonly accept: (socket: Socket) => void;
  private readonly open = new Map<string, Listener>();
  private passwords = new Map<IpAddress | Prefix, string>();

  constructor(network: Network, accept: (socket: Socket) => void) {
    this.network = network;
    this.accept = accept;
  }

  ports(): number[] {
    return [...this.open.values()].map((listener) => listener.port);
  }

  /** Opens what is new, closes what is gone, guards all. Throws before anything is changed when an address cannot be had. */
  apply(config: BgpConfig): void {
    const wanted = new Map(config.listen.map((l) => [`${l.address} ${l.port}`, l]));
    const opened = new Map<string, Listener>();
    for (const [key, { address, port }] of wanted) {
      if (this.open.has(key)) continue;
      try {
        opened.set(key, this.network.listen(address, port, this.accept));
      } catch (error) {
        for (const listener of opened.values()) listener[Symbol.dispose]();
        throw new GodwitError('listen', `listen on ${address} port ${port}: ${messageOf(error)}`, {
          hint: 'Ports below 1024 need CAP_NET_BIND_SERVICE; another BGP speaker may hold the port.',
          cause: error,
        });
      }
    }
    for (const [key, listener] of opened) this.open.set(key, listener);
    for (const [key, listener] of this.open) {
      if (wanted.has(key)) continue;
      listener[Symbol.dispose]();
      this.open.delete(key);
    }
    this.guard(config);
  }

  /** Sockets are told who may speak to them before they hear a word: TCP MD5, and GTSM where all neighbours use it. */
  private guard(config: BgpConfig): void {
    const passwords = new Map<IpAddress | Prefix, string>();
    for (const { address, password } of config.neighbors) if (password !== undefined) passwords.set(address, password);
    for (const { range, password } of config.dynamic) if (password !== undefined) passwords.set(range, password);
    for (const listener of this.open.values()) {
      for (const peer of this.passwords.keys()) if (!passwords.has(peer)) listener.setPassword(peer, undefined);
      for (const [peer, key] of passwords) listener.setPassword(peer, key);
      const hops = [
        ...config.neighbors.filter((n) => familyOf(n.address) === listener.family),
        ...config.dynamic.filter((d) => familyOf(d.range) === listener.family),
      ].map((settings) => settings.ttlSecurity);
      listener.setMinimumTtl(hops.length > 0 && hops.every((n) => n > 0) ? 256 - Math.max(...hops) : 0);
    }
    this.passwords = passwords;
  }

  [Symbol.dispose](): void {
    for (const listener of this.open.values()) listener[Symbol.dispose]();
    this.open.clear();
  }
}
