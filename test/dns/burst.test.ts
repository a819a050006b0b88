// Questions that come while the worker is busy with something else wait for it.
import t from 'tap';
import { DnsServer } from '../../src/dns/server.ts';
import { EPOLLIN, MSG_DONTWAIT } from '../../src/native/constants.ts';
import { bindUdp, connectUdp, enlargeReceiveBuffer } from '../../src/native/datagram-socket.ts';
import { EventLoop } from '../../src/native/event-loop.ts';
import { close, recv, send } from '../../src/native/libc.ts';
import { localAddress } from '../../src/native/stream-socket.ts';
import { seededRandom } from '../../src/runtime/random.ts';
import { TOTAL } from '../../src/runtime/worker-env.ts';
import { question } from '../support/dns-messages.ts';

/** More than the kernel's default buffer holds (256), and less than net.core.rmem_max allows anybody (about 510). */
const QUESTIONS = 400;
const DEADLINE_MS = 20_000;

t.test('a burst is answered whole', (t) => {
  const loop = new EventLoop();
  const empty = new Float64Array(0);
  const totals = new Float64Array(TOTAL.count);
  const counters = { totals, frontends: empty, endpoints: empty, services: empty, allEndpoints: [] };
  const none = new SharedArrayBuffer(0);
  const roundRobin = new Int32Array(0);
  const shared = { affinity: none, openConnections: none, ownOpenConnections: none, roundRobin };
  const server = new DnsServer(loop, { counters: { ...counters, ...shared }, random: seededRandom(1) });
  server.handle({ kind: 'zone-add', network: 0, name: 'back', subnets: ['10.64.0.0/24'] });
  const names = [{ name: 'web', addresses: ['10.64.0.2'], exists: true }];
  server.handle({ kind: 'zone-update', update: { network: 0, names, pointers: [] } });
  server.handle({ kind: 'scope-set', scope: { id: 1, networks: [0], forward: false } });
  const fd = bindUdp('127.0.0.1', 0);
  server.handle({ kind: 'dns-socket-add', fd, protocol: 'udp', scope: 1, client: 1 });
  const client = connectUdp('127.0.0.1', localAddress(fd).port);
  enlargeReceiveBuffer(client, 4 << 20);
  // The loop does not run yet: nobody reads.
  const message = question('web', 'A');
  for (let i = 0; i < QUESTIONS; i++) send(client, message, message.length, MSG_DONTWAIT);
  let answered = 0;
  const buffer = Buffer.alloc(512);
  loop.add(client, EPOLLIN, () => {
    while (recv(client, buffer, buffer.length, MSG_DONTWAIT) > 0) answered++;
    if (answered === QUESTIONS) loop.stop();
  });
  loop.setTimer(DEADLINE_MS, () => loop.stop());
  loop.run();
  t.equal(answered, QUESTIONS);
  loop.destroy();
  for (const one of [fd, client]) close(one);
  t.end();
});
