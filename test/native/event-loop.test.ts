import t from 'tap';
import { EPOLLET, EPOLLIN, EPOLLOUT } from '../../src/native/constants.ts';
import { NativeError } from '../../src/native/errno.ts';
import { createEventfd, EventLoop, wake } from '../../src/native/event-loop.ts';
import { close, fcntl, read } from '../../src/native/libc.ts';

/** So many batches, none of which waits for events. */
function runBatches(loop: EventLoop, count: number): void {
  let batches = 0;
  loop.onBatchEnd(() => {
    loop.again();
    if (++batches === count) loop.stop();
  });
  loop.again();
  loop.run();
}

t.test('ready descriptors, timers, batch ends and closes come in that order', async (t) => {
  const loop = new EventLoop();
  const seen: string[] = [];
  const fd = createEventfd();
  loop.add(fd, EPOLLIN, () => {
    seen.push('ready');
    loop.close(fd);
    seen.push(fcntl(fd, 1, 0) < 0 ? 'closed' : 'still open');
  });
  loop.setTimer(0, () => seen.push('timer'));
  loop.onBatchEnd(() => {
    seen.push('end');
    loop.stop();
  });
  wake(fd);
  loop.run();
  t.same(seen, ['ready', 'still open', 'timer', 'end']);
  t.ok(fcntl(fd, 1, 0) < 0, 'closed after the batch');
  loop.destroy();
});

t.test('level-triggered descriptors come again until they are read, edge-triggered ones once', async (t) => {
  const loop = new EventLoop();
  const [level, edge] = [createEventfd(), createEventfd()];
  let levels = 0;
  let edges = 0;
  loop.add(level, EPOLLIN, () => {
    if (++levels === 3) read(level, Buffer.alloc(8), 8);
  });
  loop.add(edge, EPOLLIN | EPOLLET, () => edges++);
  wake(level);
  wake(edge);
  runBatches(loop, 5);
  t.equal(levels, 3);
  t.equal(edges, 1);
  for (const fd of [level, edge]) loop.close(fd);
  loop.destroy();
});

t.test('modify changes what is waited for; a removed descriptor is heard of no more and stays open', async (t) => {
  const loop = new EventLoop();
  const fd = createEventfd();
  const seen: number[] = [];
  const note = (_fd: number, events: number): void => {
    seen.push(events);
    if (seen.length === 1) loop.modify(fd, EPOLLIN);
    else loop.remove(fd);
  };
  loop.add(fd, EPOLLOUT, note);
  wake(fd);
  runBatches(loop, 5);
  t.same(seen, [EPOLLOUT, EPOLLIN]);
  t.ok(fcntl(fd, 1, 0) >= 0);
  close(fd);
  loop.destroy();
});

t.test('an event of this batch is not delivered to a descriptor that was closed in it', async (t) => {
  const loop = new EventLoop();
  const [a, b] = [createEventfd(), createEventfd()];
  let calls = 0;
  const closeBoth = (): void => {
    calls++;
    loop.close(a);
    loop.close(b);
  };
  loop.add(a, EPOLLIN, closeBoth);
  loop.add(b, EPOLLIN, closeBoth);
  wake(a);
  wake(b);
  loop.onBatchEnd(() => loop.stop());
  loop.run();
  t.equal(calls, 1);
  loop.destroy();
});

t.test('writing the wake descriptor wakes the loop', async (t) => {
  const loop = new EventLoop();
  let woken = 0;
  loop.onWake(() => {
    woken++;
    loop.stop();
  });
  wake(loop.wakeFd);
  loop.run();
  t.equal(woken, 1);
  loop.destroy();
});

t.test('an exception of a handler ends run, and what was closed is closed', async (t) => {
  const descriptors = new Uint8Array(1024);
  const loop = new EventLoop({ descriptors });
  const fd = createEventfd();
  loop.own(fd);
  loop.add(fd, EPOLLIN, () => {
    loop.close(fd);
    throw new Error('a bug');
  });
  wake(fd);
  t.throws(() => loop.run(), { message: 'a bug' });
  t.ok(fcntl(fd, 1, 0) < 0);
  loop.destroy();
  t.notOk(descriptors.includes(1), 'the ledger is empty again');
});

t.test('a descriptor that epoll does not take is an error that names it', async (t) => {
  const loop = new EventLoop();
  t.throws(() => loop.add(1_000_000_000, EPOLLIN, () => {}), RangeError);
  const fd = createEventfd();
  close(fd);
  t.throws(() => loop.add(fd, EPOLLIN, () => {}), NativeError);
  loop.destroy();
});
