/** Every wait of the client, in milliseconds. */
export interface ClientTimes {
  /** For one endpoint to be connected, TLS and login included. */
  readonly connectMs: number;
  /** For one request to be answered. */
  readonly requestMs: number;
  /** Silence on a connection before it is pinged, and on a watch before the store is asked for a sign of life; etcd
   *  refuses pings more often than every 5 s. */
  readonly pingAfterMs: number;
  /** For the answer to either. */
  readonly pingTimeoutMs: number;
  readonly reconnectMinMs: number;
  readonly reconnectMaxMs: number;
  /** Between full lists of a followed prefix while its watch works: what a faulty watch lost is found by then. */
  readonly reconcileMs: number;
  /** For how long lists older than what was seen are refused, before they are taken for a restored store. */
  readonly distrustMs: number;
}

export const defaultTimes: ClientTimes = {
  connectMs: 3_000,
  requestMs: 5_000,
  pingAfterMs: 10_000,
  pingTimeoutMs: 5_000,
  reconnectMinMs: 200,
  reconnectMaxMs: 10_000,
  reconcileMs: 300_000,
  distrustMs: 60_000,
};
