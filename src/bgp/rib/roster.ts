/** The neighbours by number. A number is used again when nothing in the tables refers to its last owner any more. */
import { compareAddresses } from '../../net/mod.ts';
import type { UpdateGroup } from './group.ts';
import { makePeer } from './peers.ts';
import type { Peer } from './peers.ts';
import type { PeerConfig, PeerId } from './types.ts';

export class Roster {
  /** The first number is this speaker's own. */
  private readonly peers: (Peer | undefined)[] = [undefined];
  /** Removed, and still in what was decided or announced. */
  private readonly gone = new Set<PeerId>();

  /** Bound, as is the next: the stages are given them. */
  readonly find = (id: number): Peer | undefined => this.peers[id];

  /** Orders neighbours by address. */
  readonly compare = (a: number, b: number): number => {
    const x = this.peers[a];
    const y = this.peers[b];
    return (x && y && compareAddresses(x.config.address, y.config.address)) || a - b;
  };

  get(id: number): Peer {
    const peer = this.peers[id];
    if (!peer) throw new Error(`no peer ${id}`);
    return peer;
  }

  *all(): Generator<Peer> {
    for (const peer of this.peers) if (peer) yield peer;
  }

  add(config: PeerConfig): Peer {
    let id = 1;
    while (this.peers[id]) id++;
    if (id > 0xffff) throw new Error('more than 65535 neighbours');
    const peer = makePeer(id as PeerId, config);
    this.peers[id] = peer;
    return peer;
  }

  /** It never comes back; its number is not free yet. */
  leave(peer: Peer): void {
    peer.session = undefined;
    this.gone.add(peer.id);
  }

  isLeaving(id: PeerId): boolean {
    return this.gone.has(id);
  }

  get leaving(): boolean {
    return this.gone.size > 0;
  }

  /** Frees the numbers of those that are in no group's announcements any more. Their routes and attribute sets have to be gone. */
  freeNumbers(groups: Iterable<UpdateGroup>): void {
    const all = [...groups];
    for (const id of this.gone) {
      if (all.some(({ out }) => out.learnedFrom(id) > 0)) continue;
      this.gone.delete(id);
      this.peers[id] = undefined;
    }
  }
}
