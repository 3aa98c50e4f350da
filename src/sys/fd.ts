import { check, cstring, NR, syscall } from './syscall.ts';

const AT_FDCWD = -100;
export const O_RDONLY = 0;
const O_CLOEXEC = 0x80000;

/** A file descriptor that closes once: by `using`, by `close`, or by whoever `release` handed it to. */
export class Fd implements Disposable {
  private number_: number;

  constructor(number: number) {
    this.number_ = number;
  }

  get number(): number {
    if (this.number_ < 0) throw new Error('file descriptor used after it was closed');
    return this.number_;
  }

  get closed(): boolean {
    return this.number_ < 0;
  }

  /** Gives the descriptor away: the caller closes it from now on. */
  release(): number {
    const number = this.number;
    this.number_ = -1;
    return number;
  }

  close(): void {
    if (this.number_ >= 0) syscall(NR.close, this.release());
  }

  [Symbol.dispose](): void {
    this.close();
  }
}

/** open(2), close-on-exec. */
export function openFd(path: string, flags: number = O_RDONLY): Fd {
  return new Fd(check(`open ${path}`, syscall(NR.openat, AT_FDCWD, cstring(path), flags | O_CLOEXEC, 0)));
}
