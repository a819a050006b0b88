// Whether something keeps the machine's clock right, as the kernel knows it (adjtimex(2)). Asking changes nothing.
import { addressOf, syscall } from '../native/libc.ts';

export interface ClockState {
  readonly isSynchronised: boolean;
  /** The most that it may be off, as the kernel estimates it; milliseconds. */
  readonly maxErrorMs: number;
}

const ADJTIMEX = process.arch === 'arm64' ? 171 : 159;
/** struct timex; its first field says what to change, and 0 is nothing. */
const TIMEX_BYTES = 208;
const OFFSET = { maxErrorUs: 24, status: 40 } as const;
const STA_UNSYNC = 0x40;

/** Undefined when the kernel does not say, as in some sandboxes. */
export function readClockState(): ClockState | undefined {
  const timex = Buffer.alloc(TIMEX_BYTES);
  if (syscall(ADJTIMEX, addressOf(timex), 0, 0, 0, 0, 0) < 0) return undefined;
  return {
    isSynchronised: (timex.readInt32LE(OFFSET.status) & STA_UNSYNC) === 0,
    maxErrorMs: Number(timex.readBigInt64LE(OFFSET.maxErrorUs)) / 1000,
  };
}
