import t from 'tap';
import { ClientShares } from '../../src/dns/client-shares.ts';

const ROOM = 600;

/** These ask in turn, without end and without an answer; how many each has waiting then. */
function greedy(shares: ClientShares, clients: readonly number[]): readonly number[] {
  const had = clients.map(() => 0);
  for (let refused = 0; refused < clients.length; ) {
    refused = 0;
    for (const [i, client] of clients.entries()) {
      if (shares.mayWait(client, ROOM - shares.total)) {
        shares.enter(client);
        had[i] = (had[i] ?? 0) + 1;
      } else refused++;
    }
  }
  return had;
}

t.test('whoever asks without end leaves as much for the others', (t) => {
  t.strictSame(greedy(new ClientShares(), [1]), [300]);
  t.strictSame(greedy(new ClientShares(), [1, 2]), [200, 200]);
  t.strictSame(greedy(new ClientShares(), [1, 2, 3, 4, 5]), [100, 100, 100, 100, 100]);
  t.end();
});

t.test('who comes late has a share, and what was answered is free again', (t) => {
  const shares = new ClientShares();
  greedy(shares, [1]);
  t.strictSame(greedy(shares, [2]), [150], 'half of the rest');
  t.notOk(shares.mayWait(1, ROOM - shares.total), 'the first waits for its own answers');
  for (let i = 0; i < 300; i++) shares.leave(1);
  t.strictSame(greedy(shares, [2]), [150], 'half of all again');
  for (let i = 0; i < 300; i++) shares.leave(2);
  t.equal(shares.total, 0);
  t.ok(shares.mayWait(1, 1));
  t.notOk(shares.mayWait(1, 0));
  t.end();
});
