// What `vipmesh doctor` says of the way out for containers, and of what agents have left behind.
import t from 'tap';
import { readOldIptables } from '../../../src/cli/doctor/look.ts';
import { checkEgress, checkLeftovers } from '../../../src/cli/doctor/outside.ts';
import { lines } from './lines.ts';

t.test('egress and leftovers', async (t) => {
  const facts = {
    isRoots: true,
    isUp: true,
    forwarding: true,
    isForwardingWritable: true,
    dropping: [],
    tracked: { count: 5, most: 100 },
  };
  const chain = { family: 'ip', table: 'filter', chain: 'FORWARD', knowsEgress: false };
  const say = (more: object) => lines(checkEgress({ ...facts, ...more }));
  t.same(say({}), ['ok: nothing keeps containers from the outside']);
  t.same(say({ isRoots: false, forwarding: false }), []);
  t.match(say({ forwarding: false }), [/^bad: net.ipv4.ip_forward is off/]);
  t.match(say({ forwarding: false, isUp: false }), [/^ok/], 'the agent switches it on');
  t.match(say({ forwarding: false, isUp: false, isForwardingWritable: false }), [/^bad: .* cannot be switched on/]);
  t.match(say({ dropping: [chain] }), [
    /^warn: chain FORWARD of table ip filter drops .* \| .*iptables -I FORWARD -i vmeg-\+/,
  ]);
  t.match(say({ dropping: [{ ...chain, family: 'inet', table: 'fw' }] }), [
    /^warn: .* \| accept there what comes in by vmeg-\*/,
  ]);
  t.match(say({ dropping: [{ ...chain, knowsEgress: true }] }), [/^ok/]);
  t.match(say({ tracked: { count: 90, most: 100 } }), [/^bad: the kernel tracks 90 connections, of 100/]);
  t.match(say({ dropping: undefined, tracked: undefined }), [/^ok: .* as far as can be seen without root/]);
  t.match(readOldIptables('-P INPUT ACCEPT\n-P FORWARD DROP\n-P OUTPUT ACCEPT\n'), [{ knowsEgress: false }]);
  t.match(readOldIptables('-P FORWARD DROP\n-A FORWARD -i vmeg-+ -j ACCEPT\n'), [{ knowsEgress: true }]);
  t.same(readOldIptables('-P FORWARD ACCEPT\n'), []);

  const remnant = { kind: 'table', name: 'vipmesh_abcdef' };
  const survey = { remove: [remnant], inhabited: [], silent: [] };
  const left = (more: object, isAgentRunning = false) =>
    lines(checkLeftovers({ survey: { ...survey, ...more }, isAgentRunning }));
  t.same(left({}), [
    'warn: agents that have ended left 1 thing: table vipmesh_abcdef | vipmesh cleanup, or the start of the agent that they belong to',
  ]);
  t.match(left({}, true), [/\| stop the agent, then vipmesh cleanup$/]);
  t.match(left({ remove: Array.from({ length: 5 }, () => remnant) }), [/left 5 things: .* and 2 more \|/]);
  t.same(left({ remove: [] }), ['ok: agents that have ended left nothing behind']);
  t.match(left({ remove: [], inhabited: ['c1'] }), [
    /^ok: 1 container of an agent that has ended still runs: c1/,
    /^ok/,
  ]);
  t.match(left({ silent: [7] }), [/^warn: the agent with pid 7 does not answer/]);
  t.same(lines(checkLeftovers({ survey: undefined, isAgentRunning: false })), []);
});
