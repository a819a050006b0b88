import t from 'tap';
import { createLog, type LogOptions, readableLine } from '../../src/runtime/log.ts';

function lines(
  options: Pick<LogOptions, 'level' | 'format'>,
  run: (log: ReturnType<typeof createLog>) => void,
): string[] {
  const written: string[] = [];
  run(createLog({ ...options, write: (line) => written.push(line) }));
  return written;
}

t.test('JSON: one object a line, values as fields', (t) => {
  const [first, second, ...rest] = lines({ level: 'info', format: 'json' }, (log) => {
    log.debug('too little');
    log.info('a port is taken', { service: 'web', port: 80, count: 7n });
    log.error('it failed', { error: Object.assign(new Error('outer', { cause: new Error('inner') }), { code: 'X' }) });
  });
  t.same(rest, []);
  t.match(JSON.parse(first ?? ''), {
    level: 'info',
    message: 'a port is taken',
    service: 'web',
    port: 80,
    count: '7',
    time: /^\d{4}-.*Z$/,
  });
  t.match(JSON.parse(second ?? ''), { level: 'error', message: 'it failed', error: 'outer (X): inner' });
  t.end();
});

t.test('readable: the same for people', (t) => {
  const written = lines({ level: 'warn', format: 'pretty' }, (log) => {
    log.info('too little');
    log.warn('a port is taken', { service: 'my web', port: 80 });
  });
  t.equal(written.length, 1);
  t.match(written[0], /^\d\d:\d\d:\d\d\.\d{3} WARN {2}a port is taken {2}service="my web" port=80\n$/);
  t.end();
});

t.test('colour is only added', (t) => {
  const json = '{"level":"error","time":"2026-01-02T03:04:05.678Z","message":"m","a":1}';
  const plain = readableLine(json, false);
  t.equal(plain, '03:04:05.678 ERROR m  a=1\n');
  // biome-ignore lint/suspicious/noControlCharactersInRegex: colours are escape sequences.
  t.equal(readableLine(json, true).replaceAll(/\x1b\[\d+m/g, ''), plain);
  t.end();
});
