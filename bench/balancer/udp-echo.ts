// Sends back every datagram that comes to a port of 127.0.0.1, as many at once as have come. With `coalesce` as the second argument it
// takes together what comes together (UDP_GRO).
import { EPOLLIN } from '../../src/native/constants.ts';
import { DatagramBatch, WHOLE_MESSAGE_BYTES } from '../../src/native/datagram-batch.ts';
import { bindUdp, coalesce, enlargeReceiveBuffer } from '../../src/native/datagram-socket.ts';
import { EventLoop } from '../../src/native/event-loop.ts';

const RECEIVE_BYTES = 4 << 20;
const COALESCED = { messageBytes: WHOLE_MESSAGE_BYTES, controlBytes: 32, coalesced: true };

function serve(port: number, coalesces: boolean): void {
  const loop = new EventLoop();
  const batch = new DatagramBatch({ segments: true, ...(coalesces ? COALESCED : {}) });
  const fd = bindUdp('127.0.0.1', port);
  enlargeReceiveBuffer(fd, RECEIVE_BYTES);
  if (coalesces) coalesce(fd);
  loop.add(fd, EPOLLIN, () => {
    const count = batch.receive(fd);
    for (let i = 0; i < count; i++) {
      if (batch.full) batch.flush(fd);
      batch.queueReply(i, batch.arenaAddress + batch.offset(i), batch.length(i));
    }
    batch.flush(fd);
  });
  process.stdout.write('listening\n');
  loop.run();
}

serve(Number(process.argv[2]), process.argv[3] === 'coalesce');
