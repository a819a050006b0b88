// What an agent shows to etcd, and what it trusts: from files that may be renewed while it runs.
import { X509Certificate } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { createSecureContext } from 'node:tls';
import type { Log } from '../../runtime/log.ts';
import { StoreError } from '../errors.ts';
import type { EtcdAddress } from './address.ts';
import type { TlsMaterial } from './connection.ts';

export interface CredentialOptions {
  readonly address: EtcdAddress;
  /** Files in PEM. Any of them, or `etcds://`, means TLS; they are read anew for each connection. */
  readonly ca?: string;
  readonly cert?: string;
  readonly key?: string;
  /** A file whose first line is the password of the address's user. */
  readonly passwordFile?: string;
}

/** Certificates and the password, from files that may be renewed while the agent runs. */
export class CredentialFiles {
  readonly #options: CredentialOptions & { readonly log: Log };
  #lastTls: TlsMaterial | undefined;
  #lastPassword: string | undefined;

  /** Throws StoreError `refused`. */
  constructor(options: CredentialOptions & { readonly log: Log }) {
    this.#options = options;
    const { cert, key, address, passwordFile } = options;
    if ((cert === undefined) !== (key === undefined))
      throw new StoreError(
        'refused',
        'a client certificate and its key go together: give --store-cert and --store-key',
      );
    if (address.user !== undefined && address.password === undefined && passwordFile === undefined)
      throw new StoreError(
        'refused',
        `there is no password for etcd's user ${address.user}; write it into the address`,
      );
    this.#lastTls = this.#readTls();
    this.#lastPassword = this.#readPassword();
  }

  tls(): TlsMaterial | undefined {
    this.#lastTls = this.#lastGood(() => this.#readTls(), this.#lastTls);
    return this.#lastTls;
  }

  password(): string | undefined {
    this.#lastPassword = this.#lastGood(() => this.#readPassword(), this.#lastPassword);
    return this.#lastPassword;
  }

  /** A file that is being replaced may be missing for a moment. */
  #lastGood<T>(read: () => T, last: T): T {
    try {
      return read();
    } catch (error) {
      this.#options.log.warn('store credentials not read again', { error });
      return last;
    }
  }

  #readTls(): TlsMaterial | undefined {
    const { ca, cert, key, address } = this.#options;
    if (!address.tls && ca === undefined && cert === undefined) return undefined;
    return {
      ...(ca === undefined ? {} : { ca: readCertificate(ca, '--store-ca') }),
      ...(cert === undefined || key === undefined ? {} : readPair(cert, key)),
    };
  }

  #readPassword(): string | undefined {
    const { address, passwordFile } = this.#options;
    if (passwordFile === undefined) return address.password?.reveal();
    return readCredential(passwordFile, "the file of etcd's password").toString('utf8').split('\n', 1)[0];
  }
}

function readPair(cert: string, key: string): { readonly cert: Buffer; readonly key: Buffer } {
  const pair = { cert: readCertificate(cert, '--store-cert'), key: readCredential(key, '--store-key') };
  check(key, '--store-key', () => createSecureContext(pair));
  return pair;
}

function readCertificate(path: string, what: string): Buffer {
  const bytes = readCredential(path, what);
  check(path, what, () => new X509Certificate(bytes));
  return bytes;
}

function readCredential(path: string, what: string): Buffer {
  return check(path, what, () => readFileSync(path));
}

/** Errors of files and of OpenSSL name neither the flag nor, often, the file. */
function check<T>(path: string, what: string, action: () => T): T {
  try {
    return action();
  } catch (error) {
    throw unusable(path, what, error as Error);
  }
}

function unusable(path: string, what: string, cause: Error): StoreError {
  return new StoreError('refused', `${what}: ${path} cannot be used: ${cause.message}`, { cause });
}
