// Whom a question is sent to, as text.
import t from 'tap';
import type { Response } from '../../src/dns/response.ts';
import { RETRY_MS, UpstreamHealth } from '../../src/dns/upstream-health.ts';
import { type Manner, type Step, UpstreamQuery } from '../../src/dns/upstream-query.ts';

function response(rcode: number, flags = 0x8180): Response {
  const bytes = new Uint8Array(12);
  return { bytes, flags, rcode, questionEnd: 12, records: [], answers: 0, authorities: 0, lifetimeS: 0 };
}

const UDP: Manner = { overTcp: false, edns: false, spelled: true };
const UDP_EDNS: Manner = { ...UDP, edns: true };
const TCP: Manner = { ...UDP, overTcp: true };

/** `send 0 edns`, `send-tcp 1`, `send 0 lower` when the spelling of the question is not at random. */
function text(step: Step): string {
  if (step.kind !== 'send') return step.kind;
  const { overTcp, edns, spelled } = step.manner;
  return `send${overTcp ? '-tcp' : ''} ${step.upstream}${edns ? ' edns' : ''}${spelled ? '' : ' lower'}`;
}

/** A question that goes to `count` upstreams. */
function ask(count: number, edns = false, health = new UpstreamHealth(count)): UpstreamQuery {
  return new UpstreamQuery(health, [...Array(count).keys()], 0, edns);
}

const [NOERROR, FORMERR, SERVFAIL, NXDOMAIN, NOTIMP, REFUSED] = [0, 1, 2, 3, 4, 5];

t.test('D11: NXDOMAIN is an answer', (t) => {
  const query = ask(2);
  t.equal(text(query.start(0)), 'send 0');
  t.equal(text(query.response(0, response(NXDOMAIN), UDP, true, 0)), 'finish');
  t.end();
});

t.test(
  'D12: SERVFAIL, REFUSED, what cannot be used and what cannot be reached lead on; all of them fail at once',
  (t) => {
    const query = ask(4);
    query.start(0);
    t.equal(text(query.response(0, response(SERVFAIL), UDP, true, 0)), 'send 1');
    t.equal(text(query.response(1, response(REFUSED), UDP, true, 0)), 'send 2');
    t.equal(text(query.useless(2, 0)), 'send 3');
    t.equal(text(query.unreachable(3, false, 5)), 'fail');
    t.end();
  },
);

t.test('D12: silence leads on, around again, and ends within 5 s', (t) => {
  const query = ask(2);
  const steps = [text(query.start(0))];
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
  const query = ask(2);
  query.start(0);
  t.equal(text(query.timeout(1000)), 'send 1');
  t.equal(text(query.response(0, response(SERVFAIL), UDP, true, 1001)), 'wait');
  t.equal(text(query.response(1, response(NOERROR), UDP, true, 1002)), 'finish');
  t.end();
});

t.test('the one that is left is asked again', (t) => {
  const query = ask(2);
  query.start(0);
  t.equal(text(query.response(0, response(SERVFAIL), UDP, true, 0)), 'send 1');
  t.equal(text(query.timeout(1000)), 'send 1');
  t.equal(text(query.response(1, response(SERVFAIL), UDP, true, 1001)), 'fail');
  t.end();
});

t.test('D15: truncated is asked again over TCP, from the same', (t) => {
  const query = ask(2, true);
  query.start(0);
  t.equal(text(query.response(0, response(NOERROR, 0x8380), UDP_EDNS, true, 0)), 'send-tcp 0 edns');
  t.equal(text(query.response(0, response(NOERROR), TCP, true, 0)), 'finish');
  t.end();
});

t.test('D15: who does not speak TCP is not silent for that', (t) => {
  const health = new UpstreamHealth(2);
  const query = ask(2, false, health);
  query.start(0);
  query.response(0, response(NOERROR, 0x8380), UDP, true, 0);
  t.equal(text(query.unreachable(0, true, 1)), 'send 1');
  t.notOk(health.isSilent(0));
  t.end();
});

t.test('who does not understand EDNS is asked without, from then on', (t) => {
  for (const rcode of [FORMERR, NOTIMP]) {
    const health = new UpstreamHealth(1);
    const query = ask(1, true, health);
    t.equal(text(query.start(0)), 'send 0 edns');
    t.equal(text(query.response(0, response(rcode), UDP_EDNS, true, 0)), 'send 0');
    t.equal(text(query.response(0, response(rcode), UDP, true, 0)), 'fail');
    t.equal(text(ask(1, true, health).start(1)), 'send 0');
    t.equal(text(ask(1, true, health).start(3_600_001)), 'send 0 edns', 'an hour later it may have learnt it');
  }
  t.end();
});

t.test('S2: a reply in another spelling is asked for again over TCP, where nobody can forge it', (t) => {
  const health = new UpstreamHealth(2);
  const query = ask(2, false, health);
  query.start(0);
  t.equal(text(query.miscased(0, 0)), 'send-tcp 0');
  t.equal(text(query.miscased(0, 0)), 'wait', 'once is enough');
  t.equal(text(query.response(0, response(NOERROR), TCP, true, 0)), 'finish');
  t.equal(text(ask(2, false, health).start(1)), 'send 0', 'it keeps case over TCP, so the other reply was forged');
  t.end();
});

t.test('S2: who changes the case over TCP, too, or has no TCP, is asked in lower case', (t) => {
  const overTcp = new UpstreamHealth(1);
  const first = ask(1, false, overTcp);
  first.start(0);
  first.miscased(0, 0);
  t.equal(text(first.response(0, response(NOERROR), TCP, false, 0)), 'finish');
  t.equal(text(ask(1, false, overTcp).start(1)), 'send 0 lower');
  t.equal(text(ask(1, false, overTcp).start(3_600_001)), 'send 0');
  const without = new UpstreamHealth(1);
  const second = ask(1, false, without);
  second.start(0);
  second.miscased(0, 0);
  t.equal(text(second.unreachable(0, true, 0)), 'send 0 lower');
  t.notOk(without.isSilent(0));
  t.end();
});

t.test('a silent upstream is asked last until it answers', (t) => {
  const health = new UpstreamHealth(3);
  health.silent(0, 0);
  t.strictSame(health.order([0, 1, 2]), [1, 2, 0]);
  health.silent(1, 10);
  t.strictSame(health.order([0, 1, 2]), [2, 0, 1]);
  health.answered(1);
  t.strictSame(health.order([0, 1, 2]), [1, 2, 0]);
  t.strictSame(health.order([0]), [0]);
  t.end();
});

t.test('a silent upstream is tried once in a while, by a question for which nobody waits', (t) => {
  const health = new UpstreamHealth(2);
  health.silent(0, 0);
  t.strictSame(health.takeDue([0, 1], RETRY_MS - 1), []);
  t.strictSame(health.takeDue([1], RETRY_MS), [], 'only who may be asked this question');
  t.strictSame(health.takeDue([0, 1], RETRY_MS), [0]);
  t.strictSame(health.takeDue([0, 1], RETRY_MS), [], 'one question at a time');
  t.strictSame(health.takeDue([0, 1], 2 * RETRY_MS), [0]);
  health.answered(0);
  t.strictSame(health.takeDue([0, 1], 9 * RETRY_MS), []);
  t.end();
});

t.test('without upstreams every question fails', (t) => {
  t.equal(text(ask(0, true).start(0)), 'fail');
  t.end();
});
