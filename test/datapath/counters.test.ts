import t from 'tap';
import { Counters, viewCounters } from '../../src/datapath/counters.ts';
import { ENDPOINT, FRONTEND, TOTAL } from '../../src/runtime/worker-env.ts';

t.test('workers count apart; the main thread sums', async (t) => {
  const counters = new Counters(2, { frontends: 2, endpoints: 4, backends: 2 });
  const [a, b] = [viewCounters(counters.buffers(0)), viewCounters(counters.buffers(1))];
  a.frontends[FRONTEND.stride + FRONTEND.accepted] = 3;
  b.frontends[FRONTEND.stride + FRONTEND.accepted] = 4;
  b.frontends[FRONTEND.stride + FRONTEND.active] = 1;
  a.endpoints[3 * ENDPOINT.stride + ENDPOINT.bytesToClient] = 2 ** 40;
  b.endpoints[3 * ENDPOINT.stride + ENDPOINT.bytesToClient] = 1;
  b.totals[TOTAL.dnsRcodes + 3] = 5;
  t.same(counters.frontend(0), { accepted: 0, failed: 0, denied: 0, active: 0 });
  t.same(counters.frontend(1), { accepted: 7, failed: 0, denied: 0, active: 1 });
  t.equal(counters.endpoint(3).bytesToClient, 2 ** 40 + 1);
  t.equal(counters.total(TOTAL.dnsRcodes + 3), 5);
  t.equal(Atomics.add(a.roundRobin, 1, 1), 0);
  t.equal(Atomics.add(b.roundRobin, 1, 1), 1, 'turns are one order over both');

  counters.clearActive(1);
  t.same(
    counters.frontend(1),
    { accepted: 7, failed: 0, denied: 0, active: 0 },
    'what a dead worker had open is open no more',
  );
});

t.test('a number beyond the capacity counts nowhere and harms nothing', async (t) => {
  const counters = new Counters(1, { frontends: 2, endpoints: 4, backends: 2 });
  t.same(counters.frontend(99), { accepted: 0, failed: 0, denied: 0, active: 0 });
});

t.test('whoever gets a number next is counted from zero', async (t) => {
  const counters = new Counters(2, { frontends: 2, endpoints: 4, backends: 2 });
  const [a, b] = [viewCounters(counters.buffers(0)), viewCounters(counters.buffers(1))];
  a.endpoints[ENDPOINT.stride + ENDPOINT.total] = 3;
  b.endpoints[ENDPOINT.stride + ENDPOINT.total] = 4;
  counters.begin('endpoints', 1);
  t.equal(counters.endpoint(1).total, 0);
  b.endpoints[ENDPOINT.stride + ENDPOINT.total] = 6;
  t.equal(counters.endpoint(1).total, 2);
  a.frontends[FRONTEND.accepted] = 5;
  counters.begin('frontends', 0);
  t.same(counters.frontend(0), { accepted: 0, failed: 0, denied: 0, active: 0 });
});
