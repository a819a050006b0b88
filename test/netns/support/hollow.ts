// Containers with no process in them: a network namespace alone, attached over the API. Hundreds of them cost little.
import { execFile } from 'node:child_process';
import { attached, attachment } from '../../../src/api/requests.ts';
import { type ApiClient, apiPath, createClient } from '../../../src/api/client.ts';
import { findProgram } from '../../support/requirements.ts';

export interface Hollow {
  readonly name: string;
  readonly path: string;
}

export interface Place {
  readonly network: string;
  readonly address: string;
}

/** Makes them all, by iproute2 in one go. */
export async function makeHollows(names: readonly string[]): Promise<readonly Hollow[]> {
  await ipNetns(names.map((name) => `netns add ${name}`));
  return names.map((name) => ({ name, path: `/run/netns/${name}` }));
}

export function removeHollows(all: readonly Hollow[]): Promise<void> {
  return ipNetns(all.map(({ name }) => `netns delete ${name}`));
}

/** Hollow containers by the API of one agent. */
export class Attacher {
  readonly #client: ApiClient;

  constructor(socket: string) {
    this.#client = createClient(socket);
  }

  /** Resolves with the container's addresses. Rejects with ApiError. */
  async attach(hollow: Hollow, service: string): Promise<readonly Place[]> {
    const request = { Service: service, Netns: hollow.path, Name: hollow.name };
    const { Addresses } = attached.parse(await this.#client.post('/vipmesh/attachments', request));
    return Addresses.map(({ Network, Address }) => ({ network: Network, address: Address }));
  }

  /** Rejects with ApiError. */
  detach({ name }: Hollow): Promise<void> {
    return this.#client.delete(apiPath`/vipmesh/attachments/${name}`);
  }

  /** Names of all that are attached. */
  async list(): Promise<readonly string[]> {
    return (await this.#client.get('/vipmesh/attachments', attachment.array())).map(({ Name }) => Name).sort();
  }
}

function ipNetns(lines: readonly string[]): Promise<void> {
  return new Promise((resolve, reject) => {
    const child = execFile(findProgram('ip') ?? 'ip', ['-batch', '-'], (error) => {
      if (error === null) resolve();
      else reject(error);
    });
    child.stdin?.end(lines.map((line) => `${line}\n`).join(''));
  });
}
