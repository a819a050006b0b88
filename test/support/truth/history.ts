// What was true of questions, and from when to when; and whether an answer was true at some moment while it was on its way. PURE.

/** One state of one question. It may have been true already at `from`, and may have been true still at `until`. */
interface Period {
  readonly answer: string;
  readonly from: number;
  /** When its end was acknowledged to whoever commanded it; Infinity: it has not ended. */
  ended: number;
  /** When everybody knew of that. */
  until: number;
}

/** Times in milliseconds of one clock. */
export interface Answered {
  readonly question: string;
  readonly answer: string;
  /** Not after it was sent. */
  readonly sentAt: number;
  /** Not before it was received. */
  readonly receivedAt: number;
}

export interface Verdict {
  readonly true: boolean;
  /**
   * By how much the question was asked after the end of what it was answered was acknowledged; at most 0 when it was asked
   * before that.
   */
  readonly lateMs: number;
}

export class History {
  readonly #periods = new Map<string, Period[]>();

  /** What is answered from the beginning. */
  begin(question: string, answer: string): void {
    const period = { answer, from: Number.NEGATIVE_INFINITY, ended: Number.POSITIVE_INFINITY };
    this.#periods.set(question, [{ ...period, until: Number.POSITIVE_INFINITY }]);
  }

  /**
   * It became different at some moment from `from` to `known`, at which nobody answers otherwise any more; whoever commanded it
   * was told so at `acknowledged`. Calls about one question come in the order of their times.
   */
  change(question: string, answer: string, from: number, acknowledged: number, known: number): void {
    const periods = this.#periods.get(question);
    const last = periods?.at(-1);
    if (periods === undefined || last === undefined) throw new Error(`nothing was said of ${question} to begin with`);
    if (last.answer === answer) return;
    last.ended = acknowledged;
    last.until = known;
    periods.push({ answer, from, ended: Number.POSITIVE_INFINITY, until: Number.POSITIVE_INFINITY });
  }

  /** How often something became different. */
  get changes(): number {
    let sum = 0;
    for (const periods of this.#periods.values()) sum += periods.length - 1;
    return sum;
  }

  judge({ question, answer, sentAt, receivedAt }: Answered): Verdict {
    const periods = this.#periods.get(question) ?? [];
    let fits = false;
    let lateMs = Number.POSITIVE_INFINITY;
    for (let i = lastBegun(periods, receivedAt); i >= 0; i--) {
      const { answer: told, ended, until } = periods[i] as Period;
      if (until < sentAt) break;
      if (told !== answer) continue;
      fits = true;
      lateMs = Math.min(lateMs, sentAt - ended);
    }
    return { true: fits, lateMs };
  }

  /** What was true around that time, for whoever wants to know why an answer was not. */
  tell(question: string, around: number): string {
    const periods = this.#periods.get(question) ?? [];
    const at = lastBegun(periods, around);
    const some = periods.slice(Math.max(0, at - 2), at + 3);
    return some
      .map(({ answer, from, ended, until }) => {
        const [a, b, c] = [from, ended, until].map((time) => (time - around).toFixed(1));
        return `${answer} from ${a} to ${b}, known at ${c}`;
      })
      .join('; ');
  }
}

/** Index of the last period that began at that time or before; -1. */
function lastBegun(periods: readonly Period[], time: number): number {
  let [low, high] = [0, periods.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((periods[middle] as Period).from <= time) low = middle + 1;
    else high = middle;
  }
  return low - 1;
}
