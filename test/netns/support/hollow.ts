// Containers with no process in them: a network namespace alone, attached over the API. Hundreds of them cost little.
import { attached, attachment } from '../../../src/api/requests.ts';
import { type ApiClient, apiPath, createClient } from '../../../src/api/client.ts';
import { LinuxKernel } from '../../../src/netlink/linux-kernel.ts';

export interface Hollow {
  readonly name: string;
  readonly path: string;
}

export interface Place {
  readonly network: string;
  readonly address: string;
}

/** Makes them all, with their loopback up, as attaching leaves it. */
export async function makeHollows(names: readonly string[]): Promise<readonly Hollow[]> {
  const kernel = new LinuxKernel();
  try {
    for (const name of names) (await kernel.ensureNamespace(name)).close();
  } finally {
    kernel.close();
  }
  return names.map((name) => ({ name, path: `/run/netns/${name}` }));
}

export function removeHollows(all: readonly Hollow[]): void {
  const kernel = new LinuxKernel();
  for (const { name } of all) kernel.deleteNamespace(name);
  kernel.close();
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
