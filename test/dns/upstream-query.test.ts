// Whom a question is sent to, as text.
import t from 'tap';
import type { Response } from '../../src/dns/response.ts';
import { type Step, UpstreamHealth, UpstreamQuery } from '../../src/dns/upstream-query.ts';

function response(rcode: number, flags = 0x8180): Response {
  const bytes = new Uint8Array(12);
  return { bytes, flags, rcode, questionEnd: 12, records: [], answers: 0, authorities: 0, lifetimeS: 0 };
}

function text(step: Step): string {
  if (step.kind === 'send' || step.kind === 'send-tcp')
    return `${step.kind} ${step.upstream}${step.edns ? ' edns' : ''}`;
  return step.kind;
}

const [NOERROR, FORMERR, SERVFAIL, NXDOMAIN, NOTIMP, REFUSED] = [0, 1, 2, 3, 4, 5];

t.test('D11: NXDOMAIN is an answer', (t) => {
  const query = new UpstreamQuery(new UpstreamHealth(2), 0, false);
  t.equal(text(query.start()), 'send 0');
  t.equal(text(query.response(0, response(NXDOMAIN), false)), 'finish');
  t.end();
});

t.test('D12: SERVFAIL, REFUSED and what cannot be reached lead on; all of them fail at once', (t) => {
  const query = new UpstreamQuery(new UpstreamHealth(3), 0, false);
  query.start();
  t.equal(text(query.response(0, response(SERVFAIL), false)), 'send 1');
  t.equal(text(query.response(1, response(REFUSED), false)), 'send 2');
  t.equal(text(query.unreachable(2, 5)), 'fail');
  t.end();
});

t.test('D12: silence leads on, around again, and ends within 5 s', (t) => {
  const query = new UpstreamQuery(new UpstreamHealth(2), 0, false);
  const steps = [text(query.start())];
  let now = 0;
  do {
    now += query.patience(now);
    steps.push(text(query.timeout(now)));
  } while (steps.at(-1) !== 'fail');
  t.strictSame(steps, ['send 0', 'send 1', 'send 0', 'send 1', 'fail']);
  t.ok(now < 5000, `${now} ms`);
  t.end();
});

t.test('a late answer of one that was given up on counts', (t) => {
  const query = new UpstreamQuery(new UpstreamHealth(2), 0, false);
  query.start();
  t.equal(text(query.timeout(1000)), 'send 1');
  t.equal(text(query.response(0, response(SERVFAIL), false)), 'wait');
  t.equal(text(query.response(1, response(NOERROR), false)), 'finish');
  t.end();
});

t.test('the one that is left is asked again', (t) => {
  const query = new UpstreamQuery(new UpstreamHealth(2), 0, false);
  query.start();
  t.equal(text(query.response(0, response(SERVFAIL), false)), 'send 1');
  t.equal(text(query.timeout(1000)), 'send 1');
  t.equal(text(query.response(1, response(SERVFAIL), false)), 'fail');
  t.end();
});

t.test('D15: truncated is asked again over TCP, from the same', (t) => {
  const query = new UpstreamQuery(new UpstreamHealth(2), 0, true);
  query.start();
  t.equal(text(query.response(0, response(NOERROR, 0x8380), false)), 'send-tcp 0 edns');
  t.equal(text(query.response(0, response(NOERROR), true)), 'finish');
  t.end();
});

t.test('who does not understand EDNS is asked without', (t) => {
  for (const rcode of [FORMERR, NOTIMP]) {
    const query = new UpstreamQuery(new UpstreamHealth(1), 0, true);
    t.equal(text(query.start()), 'send 0 edns');
    t.equal(text(query.response(0, response(rcode), false)), 'send 0');
    t.equal(text(query.response(0, response(rcode), false)), 'fail');
  }
  t.end();
});

t.test('a silent upstream is asked last for a while, and first again once it answered', (t) => {
  const health = new UpstreamHealth(3);
  health.silent(0, 0);
  t.strictSame(health.order(9999), [1, 2, 0]);
  t.strictSame(health.order(10_000), [0, 1, 2]);
  health.silent(0, 10_000);
  health.silent(1, 10_000);
  t.strictSame(health.order(10_001), [2, 0, 1]);
  health.answered(1);
  t.strictSame(health.order(10_001), [1, 2, 0]);
  t.end();
});

t.test('without upstreams every question fails', (t) => {
  t.equal(text(new UpstreamQuery(new UpstreamHealth(0), 0, true).start()), 'fail');
  t.end();
});
