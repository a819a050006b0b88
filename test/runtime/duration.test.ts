import t from 'tap';
import { formatDuration, humanDuration, parseDuration } from '../../src/runtime/duration.ts';

t.test('durations as Go writes them', (t) => {
  for (const [text, ms, shown] of [
    ['0', 0, '0s'],
    ['500ms', 500, '500ms'],
    ['10s', 10_000, '10s'],
    ['1.5s', 1500, '1s500ms'],
    ['1m30s', 90_000, '1m30s'],
    ['90s', 90_000, '1m30s'],
    ['2h', 7_200_000, '2h'],
  ] as const) {
    t.equal(parseDuration(text), ms, text);
    t.equal(formatDuration(ms), shown);
  }
  for (const text of ['', '10', 's', '-1s', '1d', '1 s', '1s2', '1e3s'])
    t.equal(parseDuration(text), undefined, `"${text}"`);
  t.end();
});

t.test("Docker's words for how long ago", (t) => {
  const [second, minute, hour, day] = [1000, 60_000, 3_600_000, 86_400_000];
  for (const [ms, words] of [
    [0, 'Less than a second'],
    [second, '1 second'],
    [59 * second, '59 seconds'],
    [minute, 'About a minute'],
    [59 * minute, '59 minutes'],
    [hour, 'About an hour'],
    [47 * hour, '47 hours'],
    [3 * day, '3 days'],
    [20 * day, '2 weeks'],
    [100 * day, '3 months'],
    [800 * day, '2 years'],
  ] as const) {
    t.equal(humanDuration(ms), words);
  }
  t.end();
});
