// Ports for tests. None of those that the kernel hands to clients: between the moment when such a one is found free and the
// moment when it is bound, a connection of a test that runs beside this one may get it.
import { randomInt } from 'node:crypto';
import { bindUdp } from '../../src/native/datagram-socket.ts';
import { NativeError } from '../../src/native/errno.ts';
import { close, type Fd } from '../../src/native/libc.ts';
import { listenTcp, localAddress } from '../../src/native/stream-socket.ts';

/** Below the kernel's default range for clients (32768), apart from the agent's own (30000-32767) and those of random-commands. */
const FIRST = 22_000;
/** Test files run at the same time: each process claims a part of the range and begins anywhere in it. */
const PARTS = 120;
const PART_SIZE = 64;
/** Whoever has bound this port, and those after it, has the part of that number for as long as it lives. */
const CLAIMS = FIRST + PARTS * PART_SIZE;

const first = FIRST + claimPart() * PART_SIZE;
let given = randomInt(PART_SIZE);

/** A port that is free for TCP and UDP on every address. Each call gives another, and no other test gets it meanwhile. */
export function unusedPort(): number {
  for (let attempt = 0; attempt < PART_SIZE; attempt++) {
    const port = first + (given++ % PART_SIZE);
    if (isFree(() => listenTcp('::', port, { paused: true })) && isFree(() => bindUdp('::', port))) return port;
  }
  throw new Error(`no port from ${first} to ${first + PART_SIZE - 1} is free`);
}

/** A port of 127.0.0.1 that refuses connections: bound, and listened on by nobody, as long as this process lives. */
export function refusingPort(): number {
  return localAddress(listenTcp('127.0.0.1', 0, { paused: true })).port;
}

function claimPart(): number {
  for (let attempt = 0; attempt < PARTS; attempt++) {
    const part = (process.pid + attempt) % PARTS;
    try {
      bindUdp('127.0.0.1', CLAIMS + part);
      return part;
    } catch (error) {
      if (!(error instanceof NativeError) || error.code !== 'EADDRINUSE') throw error;
    }
  }
  throw new Error(`all ports from ${CLAIMS} to ${CLAIMS + PARTS - 1} are bound`);
}

function isFree(bind: () => Fd): boolean {
  try {
    close(bind());
    return true;
  } catch (error) {
    if (error instanceof NativeError && error.code === 'EADDRINUSE') return false;
    throw error;
  }
}
