// One look at one task: a TCP connect, or an HTTP GET. Never rejects; ends when it knows, or when its signal is aborted.
//
// A socket belongs to the network namespace of the thread that creates it, and Node creates a client's socket where its name
// is looked up, synchronously, in the lookup's callback. So the lookup is ours, and answers from inside the namespace.
// (Around net.connect as a whole this does not work: for an address Node connects a tick later, outside again.)
import { request } from 'node:http';
import { connect, type LookupFunction } from 'node:net';
import { formatHostPort, type IpAddress, ipVersion } from '../model/address.ts';
import { inNetns } from '../native/netns.ts';
import type { ProbeResult } from './check.ts';

/** Where a probe goes. `netns`: descriptor of the namespace it starts from; 0: this thread's own. */
export interface ProbeAddress {
  readonly address: IpAddress;
  readonly port: number;
  readonly netns: number;
  /** What has to be sent before a request. */
  readonly preface?: Uint8Array;
}

export interface HttpExpectation {
  /** Begins with `/`. */
  readonly path: string;
  /** Absent: anything from 200 to 399. */
  readonly expectStatus?: number;
}

/** Does somebody accept connections? Closed again at once, without a byte. */
export function probeTcp(to: ProbeAddress, signal: AbortSignal): Promise<ProbeResult> {
  return new Promise((resolve) => {
    const socket = connect({ ...placement(to), port: to.port });
    const finish = (result: ProbeResult) => {
      signal.removeEventListener('abort', abort);
      socket.destroy();
      resolve(result);
    };
    const abort = () => finish({ ok: false, reason: `no answer from ${where(to)}` });
    socket.on('error', (error) => finish(failure(to, error)));
    socket.on('connect', () => {
      // A connect to a free port of one's own address can meet itself (TCP simultaneous open, RFC 9293 section 3.5).
      const itself = socket.localPort === to.port && socket.localAddress === socket.remoteAddress;
      finish(itself ? { ok: false, reason: `connection refused by ${where(to)}` } : OK);
    });
    if (signal.aborted) abort();
    else signal.addEventListener('abort', abort, { once: true });
  });
}

/** The answer's body is not read, redirects are not followed. */
export function probeHttp(to: ProbeAddress, expect: HttpExpectation, signal: AbortSignal): Promise<ProbeResult> {
  return new Promise((resolve) => {
    const asked = request({
      createConnection: () => {
        const socket = connect({ ...placement(to), port: to.port });
        if (to.preface !== undefined) socket.write(to.preface);
        return socket;
      },
      path: expect.path,
      headers: { host: where(to), 'user-agent': 'vipmesh-health', accept: '*/*' },
    });
    const finish = (result: ProbeResult) => {
      signal.removeEventListener('abort', abort);
      asked.destroy();
      resolve(result);
    };
    const abort = () => finish({ ok: false, reason: `no answer from ${where(to)}` });
    asked.on('error', (error) => finish(failure(to, error)));
    asked.on('response', (response) => {
      response.on('error', () => {});
      finish(judge(response.statusCode ?? 0, to, expect));
    });
    if (signal.aborted) return abort();
    signal.addEventListener('abort', abort, { once: true });
    asked.end();
  });
}

const OK: ProbeResult = { ok: true };

function judge(status: number, to: ProbeAddress, expect: HttpExpectation): ProbeResult {
  const good = expect.expectStatus === undefined ? status >= 200 && status <= 399 : status === expect.expectStatus;
  if (good) return OK;
  const wanted = expect.expectStatus ?? '200-399';
  return { ok: false, reason: `${where(to)} answers ${expect.path} with status ${status}, wanted ${wanted}` };
}

/** What makes Node create the socket inside the namespace, see above. `probe` is looked up nowhere. */
function placement({ address, netns }: ProbeAddress): {
  host: string;
  autoSelectFamily: false;
  lookup: LookupFunction;
} {
  const lookup: LookupFunction = (_host, _options, answer) => {
    inNetns(netns, () => answer(null, address, ipVersion(address)));
  };
  return { host: 'probe', autoSelectFamily: false, lookup };
}

function failure(to: ProbeAddress, error: Error): ProbeResult {
  const code = 'code' in error && typeof error.code === 'string' ? error.code : error.message;
  const ours = OURS[code];
  if (ours !== undefined) return { ok: false, reason: `${ours} ${where(to)}`, isOurs: true };
  return { ok: false, reason: `${REASONS[code] ?? code} ${where(to)}` };
}

const REASONS: Readonly<Record<string, string>> = {
  ECONNREFUSED: 'connection refused by',
  ECONNRESET: 'connection reset by',
  EHOSTUNREACH: 'no host at',
  ENETUNREACH: 'no route to',
  ETIMEDOUT: 'no answer from',
};

/** What this process or machine has run out of. */
const OURS: Readonly<Record<string, string>> = {
  EMFILE: 'the agent has no descriptor left to ask',
  ENFILE: 'this machine has no descriptor left to ask',
  ENOBUFS: 'this machine has no memory left to ask',
  ENOMEM: 'this machine has no memory left to ask',
  EADDRNOTAVAIL: 'this machine has no source port left to ask',
};

function where({ address, port }: ProbeAddress): string {
  return formatHostPort(address, port);
}
