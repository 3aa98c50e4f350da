import { constants } from 'node:os';

const names = new Map(Object.entries(constants.errno).map(([name, value]) => [value, name]));

/** The error numbers callers test for. */
export const errno = constants.errno;

/** What the kernel refused: the operation with its object, the error number, and the kernel's own words if it had any. */
export class KernelError extends Error {
  readonly operation: string;
  readonly errno: number;
  /** `EEXIST` and the like. */
  readonly code: string;
  /** Netlink's extended acknowledgement; empty where the kernel gave none. */
  readonly kernelMessage: string;

  constructor(operation: string, number: number, kernelMessage = '') {
    const code = names.get(number) ?? `errno ${number}`;
    super(`${operation}: ${code}${kernelMessage === '' ? '' : ` (${kernelMessage})`}`);
    this.name = 'KernelError';
    this.operation = operation;
    this.errno = number;
    this.code = code;
    this.kernelMessage = kernelMessage;
  }
}

export const isErrno = (error: unknown, ...numbers: number[]): error is KernelError =>
  error instanceof KernelError && numbers.includes(error.errno);
