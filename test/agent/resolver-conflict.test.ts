// Who listens at 127.0.0.11, read from lines of /proc/net/udp and tcp.
import t from 'tap';
import { listensAtResolver } from '../../src/agent/resolver-conflict.ts';

const HEAD = '  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode';

t.test('sockets at 127.0.0.11', async (t) => {
  const table: readonly (readonly [string, string, boolean])[] = [
    ['none', '', false],
    ["Docker's, on a port of its own", '  142: 0B00007F:9C40 00000000:0000 07 00000000:00000000', true],
    ['one on port 53', '    0: 0B00007F:0035 00000000:0000 0A 00000000:00000000', true],
    ['a client that asks it', '    0: 0B00007F:9C40 0B00007F:0035 01 00000000:00000000', false],
    ['every address', '    0: 00000000:0035 00000000:0000 07 00000000:00000000', false],
    ['127.0.0.1', '    0: 0100007F:0035 00000000:0000 0A 00000000:00000000', false],
    ['11.0.0.127', '    0: 7F00000B:0035 00000000:0000 0A 00000000:00000000', false],
  ];
  for (const [what, line, expected] of table) t.equal(listensAtResolver([HEAD, line, ''].join('\n')), expected, what);
});
