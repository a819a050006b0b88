// Who waits for an answer from another node: asks until there is one that will do, or the time is over.
import type { NodeId } from '../model/node.ts';
import type { Clock, Scheduled } from '../runtime/clock.ts';
import type { AppliedState } from './probe-message.ts';

/** What a node says of itself. */
export interface Answer {
  readonly nodeId: NodeId;
  /** 16 hexadecimal digits, others at every start of the agent. */
  readonly instance: string;
  readonly applied: AppliedState;
}

export interface Question {
  /** Absent: whoever is where it is sent. */
  readonly nodeId?: NodeId;
  /** Which answers will do. */
  readonly accept: (answer: Answer) => boolean;
  /** Sends it once more. What comes back is given to `hear`. */
  readonly send: (question: Question) => void;
  readonly timeoutMs: number;
  readonly signal?: AbortSignal | undefined;
}

/** Between attempts: short at first, since most answers come within a millisecond. */
const FIRST_RETRY_MS = 25;
/** One in ten seconds of waiting costs each side some milliseconds of CPU, and what is waited for is seen this soon. */
const LONGEST_RETRY_MS = 100;

export class Asks {
  readonly #clock: Clock;
  readonly #open = new Map<Question, (answer: Answer | undefined) => void>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Undefined when no answer did in time, or nobody wants to know any more. */
  ask(question: Question): Promise<Answer | undefined> {
    const { signal, timeoutMs } = question;
    if (signal?.aborted) return Promise.resolve(undefined);
    return new Promise((resolve) => {
      let retry: Scheduled | undefined;
      const giveUp = () => finish(undefined);
      const deadline = this.#clock.schedule(timeoutMs, giveUp);
      const finish = (answer: Answer | undefined) => {
        this.#open.delete(question);
        deadline.cancel();
        retry?.cancel();
        signal?.removeEventListener('abort', giveUp);
        resolve(answer);
      };
      const attempt = (pauseMs: number) => {
        retry = this.#clock.schedule(pauseMs, () => attempt(Math.min(2 * pauseMs, LONGEST_RETRY_MS)));
        question.send(question);
      };
      signal?.addEventListener('abort', giveUp, { once: true });
      this.#open.set(question, finish);
      attempt(FIRST_RETRY_MS);
    });
  }

  /** An answer has come; `to`: to which question, when it was to one. It serves all that ask the same node. */
  hear(answer: Answer, to?: Question): void {
    for (const [question, finish] of [...this.#open]) {
      const isMeant = question.nodeId === undefined ? question === to : question.nodeId === answer.nodeId;
      if (isMeant && question.accept(answer)) finish(answer);
    }
  }

  /** Nothing will come from there any more. */
  giveUp(nodeId: NodeId): void {
    for (const [question, finish] of [...this.#open]) if (question.nodeId === nodeId) finish(undefined);
  }

  close(): void {
    for (const finish of [...this.#open.values()]) finish(undefined);
  }
}
