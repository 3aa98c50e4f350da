/** Certificates for tests, made by openssl in a directory of their own. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

export interface KeyPair {
  readonly cert: string;
  readonly key: string;
}

/** A certificate authority and what it signs. */
export class Authority implements Disposable {
  readonly directory = mkdtempSync(join(tmpdir(), 'godwit-certificates-'));
  readonly ca: KeyPair;

  constructor() {
    this.ca = this.pair('ca');
    const { cert, key } = this.ca;
    this.openssl('req', '-x509', ...NEW_KEY, '-keyout', key, '-out', cert, '-subj', '/CN=test authority', '-days', '2');
  }

  /** `address` goes into the certificate as the name it is for; negative days make one that ran out. */
  sign(name: string, options: { address?: string; days?: number } = {}): KeyPair {
    const { address = '127.0.0.1', days = 2 } = options;
    const { cert, key } = this.pair(name);
    const request = `${cert}.csr`;
    const subject = ['-subj', `/CN=${name}`, '-addext', `subjectAltName=IP:${address}`];
    this.openssl('req', ...NEW_KEY, '-keyout', key, '-out', request, ...subject);
    const by = ['-CA', this.ca.cert, '-CAkey', this.ca.key, '-CAcreateserial'];
    this.openssl(
      'x509',
      '-req',
      '-in',
      request,
      ...by,
      '-days',
      String(days),
      '-copy_extensions',
      'copy',
      '-out',
      cert,
    );
    return { cert, key };
  }

  [Symbol.dispose](): void {
    rmSync(this.directory, { recursive: true, force: true });
  }

  private pair(name: string): KeyPair {
    return { cert: join(this.directory, `${name}.pem`), key: join(this.directory, `${name}.key`) };
  }

  private openssl(...args: string[]): void {
    const { exitCode, stderr } = Bun.spawnSync(['openssl', ...args]);
    if (exitCode !== 0) throw new Error(`openssl ${args.join(' ')}: ${stderr.toString()}`);
  }
}

const NEW_KEY = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes'];
