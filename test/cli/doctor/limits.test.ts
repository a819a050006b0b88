// What `vipmesh doctor` says of descriptors and of the clock.
import t from 'tap';
import { checkClock, checkDescriptors, type LimitFacts } from '../../../src/cli/doctor/limits.ts';
import { lines } from './lines.ts';

t.test('descriptors', async (t) => {
  const facts = {
    pid: 7,
    descriptors: { soft: 20_000, hard: 20_000 },
    open: 90,
    most: 1 << 20,
    machine: { open: 900, most: 100_000 },
  };
  const table: readonly (readonly [Partial<LimitFacts>, RegExp])[] = [
    [{}, /^ok: the agent \(pid 7\) may have 20000 descriptors, which is about 9900 connections at once$/],
    [
      { descriptors: { soft: 4096, hard: 4096 } },
      /^warn: .* 1948 connections .* 1048576 at most \(fs.nr_open\): LimitNOFILE=/,
    ],
    [{ descriptors: { soft: 1024, hard: 1024 } }, /^bad: .* 412 connections/],
    [{ descriptors: { soft: 128, hard: 128 } }, /^bad: .* 0 connections/],
    [{ pid: undefined, descriptors: { soft: 1024, hard: 20_000 } }, /^ok: an agent started from here may have 20000/],
    [{ most: 8192, descriptors: { soft: 1e9, hard: 1e9 } }, /^warn: .* may have 8192 descriptors/],
  ];
  for (const [more, expected] of table) {
    const [first, second] = lines(checkDescriptors({ ...facts, ...more }));
    t.match(first, expected);
    t.equal(second, undefined);
  }
  t.match(lines(checkDescriptors({ ...facts, open: 19_000 }))[1], /^bad: 19000 of the agent's 20000 descriptors/);
  t.match(lines(checkDescriptors({ ...facts, machine: { open: 90, most: 100 } }))[1], /^bad: 90 of the machine's 100/);
  t.match(lines(checkDescriptors({ ...facts, descriptors: undefined }))[0], /^warn: .*cannot be seen/);
});

t.test('clock', async (t) => {
  const clock = (isSynchronised: boolean, maxErrorMs: number, isCluster = true) =>
    lines(checkClock({ state: { isSynchronised, maxErrorMs }, isCluster }))[0];
  t.equal(clock(true, 1.2), 'ok: the clock is synchronised, to 2 ms at worst');
  t.match(clock(true, 5000), /^warn: .* 5000 ms at worst \| run something/);
  t.match(clock(false, 16_000), /^warn: nothing keeps the clock right/);
  t.match(clock(false, 16_000, false), /^ok: .* a node that is alone does not mind$/);
  t.match(
    lines(checkClock({ state: undefined, isCluster: true }))[0],
    /^ok: clock: not checked, the kernel does not say/,
  );
});
