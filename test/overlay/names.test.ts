import t from 'tap';
import type { NetworkId } from '../../src/model/network.ts';
import type { TaskId } from '../../src/model/task.ts';
import {
  containerNamespace,
  egressBridge,
  egressPort,
  isInstance,
  macOf,
  namespacePrefix,
  networkNamespace,
  portLink,
} from '../../src/overlay/names.ts';
import { ip } from '../support/builders.ts';

t.test('names say whose they are, and fit', async (t) => {
  const id = 'k3v9x0q2m8w7z1p4r6t5y0n2b';
  t.equal(networkNamespace('ab12cd', id as NetworkId), 'vipmesh-ab12cd-k3v9x0q2');
  t.equal(containerNamespace('ab12cd', id as TaskId), 'vipmesh-ab12cd-t-k3v9x0q2');
  t.ok(containerNamespace('ab12cd', id as TaskId).startsWith(namespacePrefix('ab12cd')));
  const links = [egressBridge('ab12cd'), egressPort('ab12cd', 2 ** 24 - 1), portLink(id as TaskId)];
  t.strictSame(links, ['vmeg-ab12cd', 'vmab12cd-ffffff', 't-k3v9x0q2']);
  t.ok(links.every((name) => name.length <= 15));
});

t.test('an instance is six lower-case letters and digits', async (t) => {
  t.ok(isInstance('ab12cd'));
  for (const text of ['', 'ab12c', 'ab12cde', 'AB12CD', 'ab/2cd', 'ab-2cd']) t.notOk(isInstance(text), text);
});

t.test('a MAC is made of the address', async (t) => {
  t.equal(macOf(ip('10.64.0.2')), '02:42:0a:40:00:02');
  t.equal(macOf(ip('fd00:64::1:2')), '02:43:00:01:00:02');
});
