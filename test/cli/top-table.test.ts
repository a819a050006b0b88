import t from 'tap';
import { formatTop, ratesOf } from '../../src/cli/top-table.ts';
import { trafficAfter } from '../support/traffic.ts';

const [quiet, busy] = [trafficAfter(0), trafficAfter(2)];
const [web] = busy.Services;
if (web === undefined) throw new Error('no service');

t.test('rates are per second, of what came between', (t) => {
  const { Seconds, Services } = ratesOf(trafficAfter(1), trafficAfter(5));
  t.equal(Seconds, 4);
  t.match(Services[0], { ConnectionsPerSecond: 20, BytesToClientPerSecond: 1_500_000, FailuresPerSecond: 1 });
  t.end();
});

t.test('what is new counts from zero, and so does what began anew', (t) => {
  t.match(ratesOf({ AtMs: 0, Services: [] }, busy).Services[0], { ConnectionsPerSecond: 20 });
  const restarted = { ...busy, AtMs: 12_000 };
  t.match(ratesOf({ ...trafficAfter(10) }, restarted).Services[0], { ConnectionsPerSecond: 20 });
  t.ok(Number.isFinite(ratesOf(busy, busy).Services[0]?.ConnectionsPerSecond), 'however short the time');
  t.end();
});

t.test('the busiest first, as many as there is room for', (t) => {
  const idle = { ...web, Name: 'a', Total: 0, Open: 0, Endpoints: [] };
  const open = { ...idle, Name: 'b', Open: 3 };
  const ejected = web.Endpoints.map((one) => ({ ...one, Ejected: true }));
  const reading = { AtMs: 2000, Services: [idle, open, { ...web, Endpoints: ejected }] };
  const top = ratesOf(quiet, reading);
  t.same(
    top.Services.map(({ Name }) => Name),
    ['shop_web', 'b', 'a'],
  );
  const lines = (count: number) => formatTop(top, count).trimEnd().split('\n');
  t.match(lines(100), [
    /^3 services: 10 open/,
    /^$/,
    /^SERVICE/,
    /^shop_web/,
    / ejected$/,
    /^b .* no eligible endpoint$/,
    /^a /,
  ]);
  t.match(lines(6), [/^3 services/, /^$/, /^SERVICE/, /^shop_web/, /ejected$/, /^2 more lines$/]);
  t.equal(lines(1).length, 5, 'one at least');
  t.end();
});
