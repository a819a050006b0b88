// Asks the servers outside about a name as the resolver would, one after another, to tell which said what and how long it took.
// Part of the control plane: nobody's query waits for it.
import { createSocket } from 'node:dgram';
import type { Resolution } from '../api/schema.ts';
import type { HostPort } from '../config-dns.ts';
import type { Config } from '../config.ts';
import { reverseName } from '../dns/reverse.ts';
import { judgeReply } from '../dns/upstream-reply.ts';
import { TRY_MS } from '../dns/upstream-query.ts';
import { UpstreamRoutes } from '../dns/upstream-routes.ts';
import {
  CLASS_IN,
  encodeLabels,
  FLAG_RD,
  HEADER_BYTES,
  NOERROR,
  NXDOMAIN,
  TYPE_A,
  TYPE_PTR,
  writeU16,
} from '../dns/wire.ts';
import { formatHostPort, ipToBytes, parseIp } from '../model/address.ts';
import type { Clock } from '../runtime/clock.ts';
import type { Random } from '../runtime/random.ts';

type Step = NonNullable<Resolution['Explained']>['Steps'][number];

const RCODES = ['NOERROR', 'FORMERR', 'SERVFAIL', 'NXDOMAIN', 'NOTIMP', 'REFUSED'];

/** One step for each server that was asked; the first that knows is the last. */
export async function tryOutside(
  config: Pick<Config, 'upstreams' | 'dnsRoutes'>,
  text: string,
  { clock, random }: { readonly clock: Clock; readonly random: Random },
): Promise<readonly Step[]> {
  const address = parseIp(text);
  const name = address === undefined ? text.replace(/\.$/, '') : reverseName(ipToBytes(address));
  const labels = encodeLabels(name);
  if (labels === undefined) return [{ Where: 'outside', Found: 'no name that the DNS could carry' }];
  const routes = new UpstreamRoutes(config.upstreams, config.dnsRoutes);
  const servers = routes.find(`${Buffer.from(labels).toString('latin1')}\0`);
  if (servers.length === 0) return [{ Where: 'outside', Found: 'no server is known: SERVFAIL' }];
  const type = name.endsWith('.arpa') ? TYPE_PTR : TYPE_A;
  const steps: Step[] = [];
  for (const number of servers) {
    const server = routes.servers[number] as HostPort;
    const asked = questionFor(labels, type, Math.floor(random.unit() * 65_536));
    const begun = clock.now();
    const { found, knows } = await ask(server, asked, clock);
    const where = `server ${formatHostPort(server.address, server.port)}`;
    steps.push({ Where: where, Found: found, Milliseconds: Math.round((clock.now() - begun) * 10) / 10 });
    if (knows) break;
  }
  return steps;
}

function questionFor(labels: Uint8Array, type: number, id: number): Uint8Array {
  const message = new Uint8Array(HEADER_BYTES + labels.length + 5);
  writeU16(message, 0, id);
  writeU16(message, 2, FLAG_RD);
  writeU16(message, 4, 1);
  message.set(labels, HEADER_BYTES);
  writeU16(message, message.length - 4, type);
  writeU16(message, message.length - 2, CLASS_IN);
  return message;
}

function ask(
  server: HostPort,
  message: Uint8Array,
  clock: Clock,
): Promise<{ readonly found: string; readonly knows: boolean }> {
  const socket = createSocket(server.address.includes(':') ? 'udp6' : 'udp4');
  return new Promise((resolve) => {
    let ended = false;
    const end = (found: string, knows: boolean) => {
      if (ended) return;
      ended = true;
      timer.cancel();
      socket.close();
      resolve({ found, knows });
    };
    const timer = clock.schedule(TRY_MS, () => end(`silent for ${TRY_MS} ms`, false));
    socket.on('error', (error) => end(error.message, false));
    socket.on('message', (reply) => {
      const verdict = judgeReply(reply, message, false);
      if (verdict.kind === 'useless') end('an answer that cannot be used', false);
      if (verdict.kind !== 'answer') return;
      const { rcode, answers } = verdict.response;
      end(
        `${RCODES[rcode] ?? `rcode ${rcode}`}, ${answers} ${answers === 1 ? 'record' : 'records'}`,
        rcode === NOERROR || rcode === NXDOMAIN,
      );
    });
    // Connected, so that the kernel drops what others send and tells of refusals.
    socket.connect(server.port, server.address, () => socket.send(message));
  });
}
