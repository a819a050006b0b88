// Questions for names that nobody answers, so many that a given number is always waiting, until this process is ended:
// `hopeless-questions PORT NUMBER`.
import { createSocket } from 'node:dgram';
import { questionFor } from './question.ts';

/** As long as a resolver goes on asking for a name that nobody answers. */
const HOPELESS_MS = 4_000;
const EVERY_MS = 4;

const [port = '', pending = ''] = process.argv.slice(2);
const socket = createSocket('udp4');
const beginAt = performance.now();
let asked = 0;
setInterval(() => {
  for (const wanted = ((performance.now() - beginAt) * Number(pending)) / HOPELESS_MS; asked < wanted; asked++)
    socket.send(questionFor(`h${asked}.nobody.example`), Number(port), '127.0.0.1');
}, EVERY_MS);
