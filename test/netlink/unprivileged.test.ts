// What an ordinary user may ask of the kernel: a node of a cluster on `local` networks needs no more.
import t from 'tap';
import { LinuxKernel } from '../../src/netlink/linux-kernel.ts';

const NOBODY = 65534;

t.test('an ordinary user sees links and addresses, and is told when they change', async (t) => {
  // The kernel looks at who opens a socket, and the library's are opened at once.
  const isRoot = process.getuid?.() === 0;
  if (isRoot) process.seteuid?.(NOBODY);
  try {
    const kernel = new LinuxKernel();
    t.teardown(() => kernel.close());
    const { addresses } = await kernel.own.observe();
    t.ok(
      addresses.some(({ address }) => address === '127.0.0.1'),
      'the loopback address',
    );
    t.type(await kernel.own.routed(), Array);
    kernel.own.watchLinks(() => {})();
    t.throws(() => kernel.own.watch(() => {}), { code: 'EPERM' }, 'rules are for who may change them');
  } finally {
    if (isRoot) process.seteuid?.(0);
  }
});
