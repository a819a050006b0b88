// Services that change at random through the API, and what their names mean in each of their states.
import { createServer, type Server } from 'node:net';
import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import { z } from 'zod';
import type { ApiClient } from '../../../src/api/client.ts';
import { endpointAdded, endpointListing, serviceDetail } from '../../../src/api/schema.ts';
import type { Dice } from '../../simulation/support/seeds.ts';

export const NETWORK = 'truth';
const MOST_ENDPOINTS = 4;
const PORT_NAME = 'web';
const PORT = 80;
const LOOK_AGAIN_MS = 20;
const CHECK_EVERY_NS = 50_000_000;
/** A refusal comes at once, and a busy machine is no failure. */
const CHECK_TIMEOUT_NS = 20_000_000_000;

interface Endpoint {
  readonly id: string;
  readonly task: string;
  readonly address: string;
  inUse: boolean;
}

/** One service, which comes, goes and changes. */
export interface Churning {
  /** What its names mean now: an answer for each question that is ever asked of it, always the same questions. */
  meaning(): ReadonlyMap<string, string>;
  /** One change at random. Resolves when the agent has acknowledged it, and `meaning` is what it leads to. */
  change(): Promise<void>;
  close(): Promise<void>;
}

/** `NAME TYPE`, as `answerText` of messages.ts says it. */
type Meanings = Map<string, string>;

const NO_NAME = 'NXDOMAIN';
const NO_DATA = 'NOERROR';

/** An answer with these records; the order says nothing. */
export function answerOf(records: readonly string[]): string {
  return [NO_DATA, ...[...new Set(records)].sort()].join(' ');
}

/** A service with a name and one of two aliases; endpoints are added, removed, drained and taken into use again. */
export class ChangingService implements Churning {
  readonly #client: ApiClient;
  readonly #dice: Dice;
  readonly #name: string;
  readonly #mode: 'vip' | 'dnsrr';
  readonly #addresses: readonly string[];
  #exists = false;
  #vip = '';
  #alias = 0;
  #endpoints: readonly Endpoint[] = [];

  /** `addresses`: of the network's subnet and nobody else's. */
  constructor(client: ApiClient, dice: Dice, index: number, addresses: readonly string[]) {
    this.#client = client;
    this.#dice = dice;
    this.#name = `s${index}`;
    this.#mode = index % 3 === 0 ? 'dnsrr' : 'vip';
    this.#addresses = addresses.slice(0, MOST_ENDPOINTS);
  }

  meaning(): ReadonlyMap<string, string> {
    const meanings: Meanings = new Map();
    const name = this.#name;
    const endpoints = this.#endpoints.filter(({ inUse }) => inUse).map(({ address }) => address);
    const own = this.#mode === 'vip' ? [this.#vip] : endpoints;
    const say = (question: string, records: readonly string[], exists = this.#exists) =>
      meanings.set(question, exists ? answerOf(records) : NO_NAME);
    for (const one of [name, `${name}.${NETWORK}`]) {
      say(`${one} A`, own);
      say(`tasks.${one} A`, endpoints);
      say(`${one} AAAA`, []);
    }
    for (const [i, alias] of this.#aliases.entries()) {
      say(`${alias} A`, own, this.#exists && this.#alias === i);
      say(`tasks.${alias} A`, endpoints, this.#exists && this.#alias === i);
    }
    say(
      `_${PORT_NAME}._tcp.${name} SRV`,
      own.map((address) => `${PORT}=${address}`),
    );
    for (const address of this.#addresses) {
      const task = this.#endpoints.find((one) => one.address === address);
      const reverse = `${address.split('.').reverse().join('.')}.in-addr.arpa`;
      say(`${reverse} PTR`, [`${task?.task}.${NETWORK}`], task !== undefined);
    }
    return meanings;
  }

  async change(): Promise<void> {
    if (!this.#exists) return this.#create();
    const roll = this.#dice.below(20);
    if (roll === 0) return this.#remove();
    if (roll < 3) return this.#rename();
    const free = this.#addresses.filter((address) => this.#endpoints.every((one) => one.address !== address));
    const [first, ...rest] = this.#endpoints;
    const [place, ...places] = free;
    if (first === undefined || (place !== undefined && roll < 9))
      return this.#add(this.#dice.pick([place ?? '', ...places]));
    const one = this.#dice.pick([first, ...rest]);
    return roll < 13 ? this.#take(one) : this.#drain(one);
  }

  async close(): Promise<void> {}

  get #aliases(): readonly [string, string] {
    return [`${this.#name}-left`, `${this.#name}-right`];
  }

  get #spec(): object {
    return {
      Name: this.#name,
      TaskTemplate: {
        // Nobody is at its endpoints, and nobody is to find that out.
        ContainerSpec: { Healthcheck: { Test: ['NONE'] } },
        Networks: [{ Target: NETWORK, Aliases: [this.#aliases[this.#alias]] }],
      },
      EndpointSpec: { Mode: this.#mode },
      Vipmesh: { Expose: [{ Protocol: 'tcp', Port: PORT, Name: PORT_NAME }] },
    };
  }

  async #create(): Promise<void> {
    await this.#client.post('/services/create', this.#spec);
    const { Endpoint } = await this.#client.get(`/vipmesh/services/${this.#name}`, serviceDetail);
    this.#vip = Endpoint?.VirtualIPs?.[0]?.Addr.split('/')[0] ?? '';
    this.#exists = true;
  }

  async #remove(): Promise<void> {
    await this.#client.delete(`/services/${this.#name}`);
    this.#exists = false;
    this.#endpoints = [];
  }

  async #rename(): Promise<void> {
    const { Version } = await this.#client.get(`/vipmesh/services/${this.#name}`, serviceDetail);
    this.#alias = 1 - this.#alias;
    await this.#client.post(`/services/${this.#name}/update`, this.#spec, { version: String(Version.Index) });
  }

  async #add(address: string): Promise<void> {
    const answer = await this.#client.post('/vipmesh/endpoints', { Service: this.#name, Endpoint: address });
    const { ID, Name } = endpointAdded.parse(answer);
    this.#endpoints = [...this.#endpoints, { id: ID, task: Name, address, inUse: true }];
  }

  async #take(endpoint: Endpoint): Promise<void> {
    await this.#client.delete(`/vipmesh/endpoints/${endpoint.id}`);
    this.#endpoints = this.#endpoints.filter((one) => one !== endpoint);
  }

  async #drain(endpoint: Endpoint): Promise<void> {
    const path = `/vipmesh/endpoints/${endpoint.id}/drain`;
    if (endpoint.inUse) await this.#client.post(path);
    else await this.#client.delete(path);
    endpoint.inUse = !endpoint.inUse;
  }
}

const listings = z.array(endpointListing);

/** A service whose health check passes and fails: something listens at its endpoint, or nothing does. */
export class AilingService implements Churning {
  readonly #client: ApiClient;
  readonly #name: string;
  readonly #address: string;
  readonly #server: Server = createServer((connection) => connection.destroy());
  #port = 0;
  #exists = false;
  #healthy = false;

  constructor(client: ApiClient, index: number, address: string) {
    this.#client = client;
    this.#name = `h${index}`;
    this.#address = address;
  }

  meaning(): ReadonlyMap<string, string> {
    const [name, here] = [this.#name, this.#exists ? answerOf(this.#healthy ? [this.#address] : []) : NO_NAME];
    return new Map([
      [`${name} A`, here],
      [`tasks.${name} A`, here],
    ]);
  }

  async change(): Promise<void> {
    if (!this.#exists) {
      await this.#create();
      return;
    }
    if (this.#healthy) {
      this.#server.close();
      await this.#until('unhealthy');
    } else {
      await this.#listen(this.#port);
      await this.#until('healthy');
    }
    this.#healthy = !this.#healthy;
  }

  async close(): Promise<void> {
    if (this.#server.listening) this.#server.close();
  }

  async #create(): Promise<void> {
    // Nothing listens yet, so that it begins without an endpoint.
    await this.#listen(0);
    const place = this.#server.address();
    this.#port = typeof place === 'object' ? (place?.port ?? 0) : 0;
    this.#server.close();
    await once(this.#server, 'close');
    await this.#client.post('/services/create', {
      Name: this.#name,
      TaskTemplate: { Networks: [{ Target: NETWORK }] },
      EndpointSpec: { Mode: 'dnsrr' },
      Vipmesh: {
        Endpoints: [{ Address: this.#address, TargetPort: PORT, Port: this.#port }],
        Expose: [{ Protocol: 'tcp', Port: PORT }],
        Health: { TCP: { Port: PORT }, Interval: CHECK_EVERY_NS, Timeout: CHECK_TIMEOUT_NS, Retries: 1 },
      },
    });
    this.#exists = true;
  }

  async #listen(port: number): Promise<void> {
    await once(this.#server.listen(port, this.#address), 'listening');
  }

  async #until(health: 'healthy' | 'unhealthy'): Promise<void> {
    for (;;) {
      const [endpoint] = await this.#client.get('/vipmesh/endpoints', listings, { service: this.#name });
      if (endpoint?.Health === health) return;
      await sleep(LOOK_AGAIN_MS);
    }
  }
}
