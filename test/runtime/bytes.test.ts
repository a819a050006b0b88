import t from 'tap';
import { formatBytes } from '../../src/runtime/bytes.ts';

t.test('numbers of bytes', (t) => {
  const texts: Readonly<Record<string, string>> = {
    0: '0B',
    999: '999B',
    1000: '1kB',
    1500: '1.5kB',
    12345: '12.3kB',
    99949: '99.9kB',
    123456: '123kB',
    999499: '999kB',
    999500: '1MB',
    1234567: '1.2MB',
    8e18: '8000PB',
  };
  for (const [bytes, text] of Object.entries(texts)) t.equal(formatBytes(Number(bytes)), text);
  t.end();
});
