/** `godwit store serve` without the command line: data directory, addresses, certificates; runs until told to stop. */
import { chmodSync, lstatSync, mkdirSync, unlinkSync } from 'node:fs';
import { connect } from 'node:net';
import { dirname } from 'node:path';
import { GodwitError, messageOf, silentLogger, systemClock } from '../../base/mod.ts';
import type { Clock, Logger } from '../../base/mod.ts';
import { Engine } from './engine.ts';
import { GrpcServer } from './grpc-server.ts';
import type { ServerTls } from './grpc-server.ts';
import { makeHandlers } from './service.ts';

export interface StoreOptions {
  /** `unix:///PATH`, `http://HOST:PORT` or `https://HOST:PORT`. */
  readonly listen: readonly string[];
  readonly directory: string;
  readonly tls?: ServerTls | undefined;
  readonly name?: string;
  /** How long history is kept for watches and reads of the past, 1 h by default; 0 keeps it until compacted by hand. */
  readonly retentionMs?: number;
  readonly log?: Logger;
  readonly clock?: Clock;
}

type Address = { readonly path: string } | { readonly host: string; readonly port: number; readonly secure: boolean };

const ONE_HOUR_MS = 3_600_000;
const invalid = (text: string) => new GodwitError('invalid', text);

export function parseListenAddress(text: string): Address {
  const unix = /^unix:(?:\/\/)?(\/[^\0]+)$/.exec(text);
  if (unix) return { path: unix[1]! };
  const match = /^(https?):\/\/(?:\[([0-9a-fA-F:.]+)\]|([^:[\]/\s]+)):(\d{1,5})\/?$/.exec(text);
  const port = Number(match?.[4]);
  if (!match || port > 65535) {
    throw invalid(`cannot listen on ${text}: want unix:///PATH, http://HOST:PORT or https://HOST:PORT`);
  }
  return { host: match[2] ?? match[3]!, port, secure: match[1] === 'https' };
}

/** A running store. Throws GodwitError when it cannot start. */
export class Store implements Disposable {
  private readonly engine: Engine;
  private readonly server: GrpcServer;

  private constructor(engine: Engine, server: GrpcServer) {
    this.engine = engine;
    this.server = server;
  }

  static async start(options: StoreOptions): Promise<Store> {
    const { log = silentLogger, clock = systemClock, retentionMs = ONE_HOUR_MS, name = 'godwit' } = options;
    const addresses = options.listen.map(parseListenAddress);
    if (addresses.length === 0) throw invalid('nothing to listen on');
    if (addresses.some((address) => 'secure' in address && address.secure) && !options.tls) {
      throw invalid('https needs a certificate and its key');
    }
    const engine = new Engine({ directory: options.directory, clock, log, retentionMs });
    const server = new GrpcServer(makeHandlers({ engine, name, clientUrls: options.listen }), log);
    const store = new Store(engine, server);
    try {
      for (const [i, address] of addresses.entries()) await store.listen(address, options.listen[i]!, options.tls);
    } catch (error) {
      store[Symbol.dispose]();
      throw error;
    }
    return store;
  }

  private async listen(address: Address, text: string, tls: ServerTls | undefined): Promise<void> {
    try {
      if (!('path' in address)) return await this.server.listen(address, address.secure ? tls : undefined);
      mkdirSync(dirname(address.path), { recursive: true });
      await removeStaleSocket(address.path);
      // the file system's permissions are the only door of a unix socket
      const before = process.umask(0o177);
      try {
        await this.server.listen(address);
      } finally {
        process.umask(before);
      }
      chmodSync(address.path, 0o600);
    } catch (error) {
      if (error instanceof GodwitError) throw error;
      throw new GodwitError('listen', `cannot listen on ${text}: ${messageOf(error)}`, { cause: error });
    }
  }

  /** Ends all connections; what was answered is on disk. */
  [Symbol.dispose](): void {
    this.server.close();
    this.engine[Symbol.dispose]();
  }
}

/** A socket file that a killed server left behind is removed; one that answers, or that is no socket, is not ours. */
async function removeStaleSocket(path: string): Promise<void> {
  let socket: boolean;
  try {
    socket = lstatSync(path).isSocket();
  } catch {
    return; // nothing there
  }
  if (!socket) throw new GodwitError('listen', `${path} exists and is not a socket`);
  const answered = await new Promise<boolean>((resolve) => {
    const probe = connect({ path });
    probe.once('connect', () => {
      probe.destroy();
      resolve(true);
    });
    probe.once('error', () => resolve(false));
  });
  if (answered) throw new GodwitError('listen', `${path} is in use by another server`);
  unlinkSync(path);
}
