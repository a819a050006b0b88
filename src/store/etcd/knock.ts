// Finds out whether an etcd answers at an endpoint, and if not, why: gRPC itself says little more than that it could not connect.
import { connect, isIP, type Socket } from 'node:net';
import { type ConnectionOptions, connect as connectTls } from 'node:tls';
import { type Endpoint, endpointText } from './address.ts';
import type { TlsMaterial } from './connection.ts';
import { CallFailure } from './failure.ts';

/** HTTP/2's client preface and an empty SETTINGS frame (RFC 9113, 3.4); a server answers with its own SETTINGS at once. */
const HELLO = Buffer.concat([
  Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'),
  Buffer.from([0, 0, 0, 4, 0, 0, 0, 0, 0]),
]);
const SETTINGS_FRAME = 4;
/** A TLS record that is an alert (RFC 8446, 5.1): what a server that wants TLS says to everything else. */
const TLS_ALERT = 21;

/**
 * Resolves when an HTTP/2 server has spoken. Rejects with CallFailure: unreachable, silent, refused, cancelled by the signal.
 */
export async function knock(
  endpoint: Endpoint,
  tls: TlsMaterial | undefined,
  timeoutMs: number,
  signal: AbortSignal,
): Promise<void> {
  try {
    await speak(endpoint, tls, timeoutMs, signal);
  } catch (error) {
    const failure = error as CallFailure;
    // A server that expects TLS, or none, may hang up without a word. Asked the other way, it tells.
    if (failure.message !== HUNG_UP) throw failure;
    throw (await mistakenTls(endpoint, tls, timeoutMs, signal)) ?? failure;
  }
}

async function mistakenTls(
  endpoint: Endpoint,
  tls: TlsMaterial | undefined,
  timeoutMs: number,
  signal: AbortSignal,
): Promise<CallFailure | undefined> {
  const other = tls === undefined ? { rejectUnauthorized: false } : undefined;
  const answer = await speak(endpoint, other, timeoutMs, signal).catch((error: CallFailure) => error);
  if (tls !== undefined) return answer === undefined ? new CallFailure('refused', NO_TLS) : undefined;
  // It does not matter what it thinks of certificates: whoever speaks of them speaks TLS.
  return answer === undefined || answer.kind === 'refused' ? new CallFailure('refused', ONLY_TLS) : undefined;
}

function speak(
  endpoint: Endpoint,
  tls: ConnectionOptions | undefined,
  timeoutMs: number,
  signal: AbortSignal,
): Promise<void> {
  return new Promise((resolve, reject) => {
    let connected = false;
    const settle = (failure?: CallFailure) => {
      clearTimeout(timer);
      signal.removeEventListener('abort', cancel);
      socket.destroy();
      if (failure === undefined) resolve();
      else reject(failure);
    };
    const cancel = () => settle(new CallFailure('cancelled', 'given up'));
    const timer = setTimeout(() => settle(silent(connected, timeoutMs)), timeoutMs);
    const socket = open(endpoint, tls);
    signal.addEventListener('abort', cancel);
    socket.on('connect', () => {
      connected = true;
    });
    socket.on(tls === undefined ? 'connect' : 'secureConnect', () => socket.write(HELLO));
    socket.on('error', (error: NodeJS.ErrnoException) => settle(explain(endpoint, tls, error)));
    socket.on('close', () => settle(new CallFailure('unreachable', HUNG_UP)));
    socket.on('data', (answer) => settle(judge(answer)));
  });
}

function open({ host, port }: Endpoint, tls: ConnectionOptions | undefined): Socket {
  if (tls === undefined) return connect({ host, port, noDelay: true });
  return connectTls({ host, port, ...tls, ...(isIP(host) ? {} : { servername: host }), ALPNProtocols: ['h2'] });
}

function judge(answer: Buffer): CallFailure | undefined {
  if (answer[3] === SETTINGS_FRAME) return undefined;
  if (answer[0] === TLS_ALERT || answer.toString('latin1').includes('HTTPS server'))
    return new CallFailure('refused', ONLY_TLS);
  return new CallFailure('refused', 'what answers there is no etcd; name its client port (2379 by default)');
}

function silent(connected: boolean, timeoutMs: number): CallFailure {
  const why = connected
    ? 'it takes connections but does not answer: it is frozen or overloaded'
    : 'the machine is down, or a firewall drops the packets';
  return new CallFailure('silent', `no answer within ${timeoutMs / 1000} s (${why})`);
}

const HUNG_UP = 'it closed the connection without a word';
const ONLY_TLS = 'it speaks TLS only; give its certificate authority (--store-ca)';
const NO_TLS = 'it does not speak TLS; leave --store-ca, --store-cert and --store-key out';

/** OpenSSL's and Node.js' names of what can be wrong with certificates. */
const TLS_PROBLEMS: Readonly<Record<string, string>> = {
  CERT_HAS_EXPIRED: "its certificate has expired; renew it, or set this machine's clock",
  CERT_NOT_YET_VALID: "its certificate is not valid yet; set this machine's clock",
  ERR_SSL_WRONG_VERSION_NUMBER: NO_TLS,
  ERR_SSL_PACKET_LENGTH_TOO_LONG: NO_TLS,
};

/** What a server says of a client's certificate; etcd says the first, whatever is wrong with it. */
const ALERTS = new Set([
  'ERR_SSL_SSLV3_ALERT_BAD_CERTIFICATE',
  'ERR_SSL_TLSV13_ALERT_CERTIFICATE_REQUIRED',
  'ERR_SSL_TLSV1_ALERT_UNKNOWN_CA',
  'ERR_SSL_SSLV3_ALERT_CERTIFICATE_EXPIRED',
]);

const UNTRUSTED = new Set([
  'DEPTH_ZERO_SELF_SIGNED_CERT',
  'SELF_SIGNED_CERT_IN_CHAIN',
  'UNABLE_TO_GET_ISSUER_CERT',
  'UNABLE_TO_GET_ISSUER_CERT_LOCALLY',
  'UNABLE_TO_VERIFY_LEAF_SIGNATURE',
  'CERT_SIGNATURE_FAILURE',
]);

function explain(endpoint: Endpoint, tls: ConnectionOptions | undefined, error: NodeJS.ErrnoException): CallFailure {
  const { code = '', message } = error;
  const refused = (what: string) => new CallFailure('refused', what, { cause: error });
  const unreachable = (what: string) => new CallFailure('unreachable', what, { cause: error });
  const known = TLS_PROBLEMS[code];
  if (known !== undefined) return refused(known);
  if (UNTRUSTED.has(code))
    return refused(`its certificate is of an authority that is not trusted; give it (--store-ca)`);
  if (ALERTS.has(code)) {
    if (tls?.cert === undefined)
      return refused('it asks for a client certificate; give one (--store-cert, --store-key)');
    return refused(
      'it does not take our certificate (--store-cert): it has expired, or its authority is not trusted there',
    );
  }
  switch (code) {
    case 'ECONNREFUSED':
      return unreachable('connection refused: no etcd runs there');
    case 'ENOTFOUND':
    case 'EAI_AGAIN':
      return unreachable(`the name ${endpoint.host} is not known to DNS`);
    case 'EHOSTUNREACH':
    case 'ENETUNREACH':
      return unreachable('there is no route to it, or the machine is down');
    case 'ECONNRESET':
    case 'EPIPE':
      return unreachable(HUNG_UP);
    case 'ERR_TLS_CERT_ALTNAME_INVALID':
      return refused(`its certificate is not for ${endpoint.host}; use a name that it holds (${message})`);
    default:
      if (/^(ERR_SSL|ERR_TLS|ERR_OSSL|CERT_)/.test(code)) return refused(`TLS failed (${code}: ${message})`);
      return unreachable(`${endpointText(endpoint)}: ${message}`);
  }
}
