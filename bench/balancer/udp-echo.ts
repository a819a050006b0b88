// Sends back every datagram that comes to a port of 127.0.0.1, as many at once as have come.
import { EPOLLIN } from '../../src/native/constants.ts';
import { DatagramBatch } from '../../src/native/datagram-batch.ts';
import { bindUdp, enlargeReceiveBuffer } from '../../src/native/datagram-socket.ts';
import { EventLoop } from '../../src/native/event-loop.ts';

const RECEIVE_BYTES = 4 << 20;

function serve(port: number): void {
  const loop = new EventLoop();
  const batch = new DatagramBatch({ segments: true });
  const fd = bindUdp('127.0.0.1', port);
  enlargeReceiveBuffer(fd, RECEIVE_BYTES);
  loop.add(fd, EPOLLIN, () => {
    const count = batch.receive(fd);
    for (let i = 0; i < count; i++) batch.queueReply(i, batch.arenaAddress + batch.offset(i), batch.length(i));
    batch.flush(fd);
  });
  process.stdout.write('listening\n');
  loop.run();
}

serve(Number(process.argv[2]));
