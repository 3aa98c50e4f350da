/** What a plugin answers when it refuses: CNI spec 1.1.0, section 5 "Error". Imported by the thin executable: no imports. */

/** Codes below 100 are the specification's, the others ours. */
export const codes = {
  incompatibleVersion: 1,
  unsupportedField: 2,
  unknownContainer: 3,
  invalidEnvironment: 4,
  io: 5,
  decode: 6,
  invalidConfig: 7,
  tryAgain: 11,
  notAvailable: 50,
  limitedConnectivity: 51,
  /** The kernel refused a change. */
  kernel: 100,
  /** No address of the node's subnet is free, or the one asked for is not. */
  noAddress: 101,
  /** CHECK found something else than ADD had made. */
  differs: 102,
  /** The container has an interface of that name. */
  interfaceTaken: 103,
} as const;

/** `details` says more than `message`, where there is more to say. Thrown inside this folder, printed at its edge. */
export class CniError extends Error {
  readonly code: number;
  readonly details: string;

  constructor(code: number, message: string, details = '') {
    super(message);
    this.name = 'CniError';
    this.code = code;
    this.details = details;
  }
}

export function formatError(version: string, error: CniError): string {
  const { code, message: msg, details } = error;
  return `${JSON.stringify({ cniVersion: version, code, msg, ...(details !== '' && { details }) })}\n`;
}
