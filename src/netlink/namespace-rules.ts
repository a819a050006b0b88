// The nftables of one network namespace. The socket is made for the first request and then kept: closing one waits for what the
// kernel still has to free of earlier changes, which takes milliseconds.
import type { Fd } from '../native/libc.ts';
import type { Operation } from './kernel.ts';
import { KernelError } from './kernel-error.ts';
import type { Message, Request } from './message.ts';
import {
  type Batch,
  changeElements,
  getCounterRequest,
  getGenerationRequest,
  getTableRequest,
  readCounter,
  readGeneration,
  removeTable,
  replaceElements,
  replaceTable,
  type TableFamily,
} from './nftables.ts';
import { NetlinkSocket, type Purpose } from './socket.ts';

export type RuleOperation = Extract<
  Operation,
  { kind: 'set-ruleset' | 'remove-ruleset' | 'set-elements' | 'change-elements' }
>;

export class NamespaceRules {
  readonly #netns: Fd;
  readonly #where: string;
  #socket: NetlinkSocket | undefined;

  /** `where`: the end of what errors are about, ` in NAME`. */
  constructor(netns: Fd, where: string) {
    this.#netns = netns;
    this.#where = where;
  }

  async apply(operation: RuleOperation, purpose: Purpose): Promise<void> {
    const { requests, acknowledged } = batchOf(operation);
    await this.#open().batch(requests, acknowledged, purpose);
  }

  async has(name: string): Promise<boolean> {
    return (await this.#ask(getTableRequest(name), 'look up', `nftables table inet ${name}`)) !== undefined;
  }

  async packetsCounted(table: string, counter: string, family: TableFamily = 'inet'): Promise<number | undefined> {
    const object = `counter ${counter} of nftables table ${family} ${table}`;
    const answer = await this.#ask(getCounterRequest(table, counter, family), 'read', object);
    return answer === undefined ? undefined : readCounter(answer.body);
  }

  async generation(): Promise<number> {
    const object = 'the generation of nftables';
    const answer = await this.#ask(getGenerationRequest(), 'read', object);
    const generation = answer === undefined ? undefined : readGeneration(answer.body);
    if (generation !== undefined) return generation;
    throw new KernelError('absent', 'read', `${object}${this.#where}`, 'the kernel does not tell it');
  }

  /** Undefined when there is no such thing. */
  async #ask(request: Request, operation: string, what: string): Promise<Message | undefined> {
    const purpose = { operation, object: `${what}${this.#where}` };
    try {
      return (await this.#open().request(request, purpose))[0];
    } catch (error) {
      if (error instanceof KernelError && error.code === 'absent') return undefined;
      throw error;
    }
  }

  /** Lets go of the namespace. */
  close(): void {
    this.#socket?.close();
  }

  #open(): NetlinkSocket {
    this.#socket ??= new NetlinkSocket(this.#netns, 'netfilter');
    return this.#socket;
  }
}

function batchOf(operation: RuleOperation): Batch {
  // biome-ignore lint/nursery/useExhaustiveSwitchCases: it does not see what Extract takes; the compiler does.
  switch (operation.kind) {
    case 'set-ruleset':
      return replaceTable(operation.name, operation.ruleset);
    case 'remove-ruleset':
      return removeTable(operation.name);
    case 'set-elements':
      return replaceElements(operation.name, operation.set);
    case 'change-elements':
      return changeElements(operation.name, operation.changes, operation.family);
  }
}
