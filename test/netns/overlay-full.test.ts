// A /24 that is too small for three hundred containers: those for which there is no address are refused with a clear error, and the
// others do not notice.
import './support/node.ts';
import t from 'tap';
import { ApiError } from '../../src/api/errors.ts';
import { closeNetns, openNetns } from '../../src/native/netns.ts';
import { startAgent } from '../support/agent.ts';
import { serveTcp, tryTcp } from '../support/netns.ts';
import { close } from '../../src/native/libc.ts';
import { configuration } from './support/guests.ts';
import { Attacher, makeHollows, removeHollows } from './support/hollow.ts';
import { vipOf } from './support/mesh.ts';
import { mayBeNode } from './support/node.ts';

const STACK = `services:
  web: {networks: [back]}
networks:
  back: {driver: overlay, internal: true, attachable: true, ipam: {config: [{subnet: 10.99.0.0/24}]}}
`;
const CONTAINERS = 300;
/** Of 256 without the first, the gateway and the last, and without the VIP of `web`. */
const ROOM = 256 - 3 - 1;
const PORT = 8000;

t.test('three hundred containers in one /24', async (t) => {
  if (!(await mayBeNode(t))) return;
  const agent = await startAgent({ stacks: { shop: STACK }, args: ['--drain', '0s'] });
  const hollows = await makeHollows(Array.from({ length: CONTAINERS }, (_, index) => `full${index + 1}`));
  t.teardown(() => removeHollows(hollows));
  const attacher = new Attacher(agent.folder.socket);
  const outcomes = await Promise.all(
    hollows.map((hollow) =>
      attacher.attach(hollow, 'web').then(
        ([place]) => ({ hollow, address: place?.address ?? '', error: undefined }),
        (error: unknown) => ({ hollow, address: '', error }),
      ),
    ),
  );
  const [inside, outside] = [false, true].map((failed) =>
    outcomes.filter(({ error }) => (error !== undefined) === failed),
  );
  const [first] = inside ?? [];
  const [refused] = outside ?? [];
  if (first === undefined || refused === undefined) throw new Error('nobody or everybody was attached');
  const netns = openNetns(first.hollow.path);
  const server = serveTcp(netns, PORT);
  t.teardown(() => {
    close(server);
    closeNetns(netns);
  });

  await t.test('as many as there are addresses', async (t) => {
    t.equal(inside?.length, ROOM);
    t.equal(new Set(inside?.map(({ address }) => address)).size, ROOM, 'each with its own');
    t.equal((await attacher.list()).length, ROOM);
  });

  await t.test('the others are told what is full, and what to do', async (t) => {
    for (const { error } of outside ?? []) {
      if (!(error instanceof ApiError)) throw error;
      t.match(
        error.message,
        /^task full\d+ gets no address on network shop_back: subnet 10\.99\.0\.0\/24 is full: 253 of its 253 addresses are used by VIPs and tasks; remove what is not needed, or make a network with a larger subnet \(shorter than \/24\)$/,
      );
    }
    t.same(await configuration(refused.hollow.path), ['lo up 127.0.0.1/8 ::1/128'], 'and nothing is left in them');
    const status = await agent.cli('status');
    t.match(
      status.stdout,
      /network shop_back: 253 of the 253 addresses of 10\.99\.0\.0\/24 are used; make a larger network/,
    );
    const service = await agent.cli('service', 'create', '--name', 'more', '--network', 'shop_back');
    t.match(service, { code: 1, stderr: /service more gets no address on network shop_back: .* is full/ });
  });

  await t.test('those that are there work as before', async (t) => {
    const last = inside?.at(-1);
    const from = openNetns(last?.hollow.path ?? '');
    t.teardown(() => closeNetns(from));
    t.match(tryTcp(from, first.address, PORT, server), `${last?.address} met at ${first.address}:${PORT}`);
    t.match(await vipOf(agent, 'shop_back', 'web'), /^10\.99\.0\./);
  });

  await t.test('one that goes makes room for one', async (t) => {
    const [going] = inside?.slice(-1) ?? [];
    if (going === undefined) return;
    await attacher.detach(going.hollow);
    const [place] = await attacher.attach(refused.hollow, 'web');
    t.equal(place?.address, going.address);
    await t.rejects(attacher.attach(going.hollow, 'web'), { message: /is full/ });
  });
  t.equal(await agent.stop(), 0);
});
