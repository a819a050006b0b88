// D27: what a container's resolver is told.
import t from 'tap';
import type { IpAddress } from '../../src/model/address.ts';
import type { Task } from '../../src/model/task.ts';
import { containerHostname, containerHosts, containerResolvConf } from '../../src/tasks/container-files.ts';

const task = {
  id: 'abcdefghijklmnopqrstuvwxy',
  name: 'web.1.abc',
  attachments: [
    { networkId: 'a', address: '10.64.0.2' as IpAddress, moreAddresses: ['fd00::2' as IpAddress], aliases: [] },
    { networkId: 'b', address: '10.64.1.2' as IpAddress, aliases: [] },
  ],
} as unknown as Task;

t.test('resolv.conf: our server, the rest as it was', async (t) => {
  const rows: readonly (readonly [ofNode: string, expected: string])[] = [
    ['', 'nameserver 127.0.0.11\n'],
    ['nameserver 192.0.2.1\nnameserver 192.0.2.2\n', 'nameserver 127.0.0.11\n'],
    [
      '# by hand\nsearch a.example b.example\n  nameserver\t::1\noptions ndots:5 edns0',
      'nameserver 127.0.0.11\n# by hand\nsearch a.example b.example\noptions ndots:5 edns0\n',
    ],
    [
      'domain example.com\n\nnameservers are elsewhere\n',
      'nameserver 127.0.0.11\ndomain example.com\nnameservers are elsewhere\n',
    ],
  ];
  for (const [ofNode, expected] of rows) t.equal(containerResolvConf(ofNode), expected);
});

t.test('hosts: the container itself', async (t) => {
  t.equal(containerHostname(task), 'abcdefghijkl');
  t.equal(containerHostname({ ...task, hostname: 'db' }), 'db');
  t.same(
    containerHosts(task)
      .split('\n')
      .map((line) => line.replace(/ +/g, ' ')),
    [
      '127.0.0.1 localhost',
      '::1 localhost ip6-localhost ip6-loopback',
      '10.64.0.2 abcdefghijkl web.1.abc',
      'fd00::2 abcdefghijkl web.1.abc',
      '10.64.1.2 abcdefghijkl web.1.abc',
      '',
    ],
  );
});
