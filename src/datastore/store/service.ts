/** etcd's services on the engine: each method's handler. */
import { alarmAction, alarmType } from '../wire/messages.ts';
import type { TxnRequest } from '../wire/messages.ts';
import { GrpcError, grpcStatus } from '../wire/grpc.ts';
import { methods } from '../wire/services.ts';
import type { Engine } from './engine.ts';
import { etcdErrors } from './errors.ts';
import { duplex, unary } from './grpc-server.ts';
import type { Handler } from './grpc-server.ts';
import { State } from './state.ts';
import type { Outcome } from './state.ts';
import { fromKey } from './values.ts';
import { WatchStream } from './watch-stream.ts';

/** What clients see as the server's version: the API level, which etcdctl prints and some clients look at. */
const API_VERSION = '3.4.0';

export interface ServiceOptions {
  readonly engine: Engine;
  readonly name: string;
  /** Where clients reach the store, for MemberList. */
  readonly clientUrls: readonly string[];
}

export function makeHandlers({ engine, name, clientUrls }: ServiceOptions): ReadonlyMap<string, Handler> {
  const { state } = engine;
  const headerAt = (revision: number) => ({ ...engine.header, revision });
  const write = async <T extends object>(apply: () => Outcome<T>) => {
    const { response, revision } = await engine.write(apply);
    return { header: headerAt(revision), ...response };
  };
  const readTxn = (request: TxnRequest) => ({ header: engine.header, ...state.txn(request).response });
  const alarms = () => (engine.noSpace ? [{ memberId: engine.header.memberId, alarm: alarmType.noSpace }] : []);

  const handlers: [{ readonly path: string }, Handler][] = [
    [methods.range, unary(methods.range, (request) => ({ ...state.range(request), header: engine.header }))],
    [methods.put, unary(methods.put, (request) => write(() => state.put(request)))],
    [methods.deleteRange, unary(methods.deleteRange, (request) => write(() => state.deleteRange(request)))],
    [
      methods.txn,
      unary(methods.txn, (request) => (State.isReadOnly(request) ? readTxn(request) : write(() => state.txn(request)))),
    ],
    [
      methods.compact,
      unary(methods.compact, ({ revision }) => {
        engine.compact(revision);
        return { header: engine.header };
      }),
    ],
    [
      methods.watch,
      duplex(methods.watch, (control) => {
        const stream = new WatchStream(engine, control);
        return {
          take: (request) => stream.take(request),
          drained: () => stream.drained(),
          close: () => stream[Symbol.dispose](),
        };
      }),
    ],
    [
      methods.leaseGrant,
      unary(methods.leaseGrant, (request) => write(() => state.grant(request, engine.now(), () => engine.newId()))),
    ],
    [methods.leaseRevoke, unary(methods.leaseRevoke, ({ id }) => write(() => state.revoke(id)))],
    [
      methods.leaseKeepAlive,
      duplex(methods.leaseKeepAlive, (control) => ({
        // a lease that is gone has a time to live of 0
        take: ({ id }) => void control.send({ header: engine.header, id, ttl: engine.keepAlive(id) ?? 0 }),
        drained() {},
        close() {},
      })),
    ],
    [
      methods.leaseTimeToLive,
      unary(methods.leaseTimeToLive, ({ id, keys }) => {
        const lease = state.leases.get(id);
        if (!lease) return { header: engine.header, id, ttl: -1 };
        const held = keys ? [...lease.keys].sort().map((key) => fromKey(key)) : [];
        const ttl = engine.remainingSeconds(id) ?? -1;
        return { header: engine.header, id, ttl, grantedTtl: lease.ttl, keys: held };
      }),
    ],
    [
      methods.leaseLeases,
      unary(methods.leaseLeases, () => ({
        header: engine.header,
        leases: Array.from(state.leases.all(), ({ id }) => ({ id })),
      })),
    ],
    [
      methods.memberList,
      unary(methods.memberList, () => ({
        header: engine.header,
        members: [{ id: engine.header.memberId, name, clientUrls, peerUrls: clientUrls }],
      })),
    ],
    [
      methods.status,
      unary(methods.status, () => {
        const { header } = engine;
        const { total, used } = engine.disk.size();
        return {
          header,
          version: API_VERSION,
          dbSize: total,
          dbSizeInUse: used,
          leader: header.memberId,
          raftIndex: header.revision,
          raftAppliedIndex: header.revision,
          raftTerm: header.raftTerm,
          errors: alarms().map(({ memberId }) => `memberID:${memberId} alarm:NOSPACE`),
        };
      }),
    ],
    [
      methods.alarm,
      unary(methods.alarm, ({ action, alarm }) => {
        const before = alarms();
        if (action === alarmAction.get) return { header: engine.header, alarms: before };
        const about = alarm === alarmType.noSpace || alarm === alarmType.none;
        if (action === alarmAction.deactivate && about) {
          engine.disarm();
          return { header: engine.header, alarms: before };
        }
        throw new GrpcError(grpcStatus.unimplemented, 'this alarm cannot be set by hand');
      }),
    ],
    [
      methods.defragment,
      unary(methods.defragment, () => {
        engine.disk.defragment();
        return { header: engine.header };
      }),
    ],
    [
      methods.authenticate,
      unary(methods.authenticate, () => {
        throw etcdErrors.authNotEnabled();
      }),
    ],
  ];
  return new Map(handlers.map(([{ path }, handler]) => [path, handler]));
}
