import t from 'tap';
import { refusal } from '../../src/netlink/kernel-error.ts';

t.test('a refusal names what was attempted, on what, the errno and the likely cause', async (t) => {
  const table: readonly (readonly [number, string, string, RegExp])[] = [
    [1, 'privilege', 'EPERM', /run the agent as root/],
    [17, 'exists', 'EEXIST', /exists already/],
    [19, 'absent', 'ENODEV', /no such link/],
    [95, 'unsupported', 'ENOTSUP', /kernel lacks this/],
    [5, 'refused', 'EIO', /the kernel refused it/],
    [9999, 'refused', 'Unknown system error -9999', /refused/],
  ];
  for (const [errno, code, name, why] of table) {
    const error = refusal('add link', 'br0 in vipmesh-ab12cd-net', errno);
    t.match(error, {
      name: 'KernelError',
      code,
      errno: name,
      operation: 'add link',
      object: 'br0 in vipmesh-ab12cd-net',
    });
    t.match(error.message, why);
    t.match(error.message, /^cannot add link br0 in vipmesh-ab12cd-net: /);
  }
});
