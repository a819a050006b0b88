// S9: only what was written with the cluster's key is read, and an answer is never larger than its request.
import { createHmac, randomBytes } from 'node:crypto';
import fc from 'fast-check';
import t from 'tap';
import {
  decodeMessage,
  encodeMessage,
  isProbeId,
  KEY_BYTES,
  MESSAGE_BYTES,
  type Nonce,
  newNonce,
  type ProbeAnswer,
  type ProbeRequest,
} from '../../src/cluster/probe-message.ts';
import type { NodeId } from '../../src/model/node.ts';
import { seededRandom } from '../../src/runtime/random.ts';

const key = Buffer.alloc(KEY_BYTES, 7);
const a = 'a'.repeat(25) as NodeId;
const b = 'b1' as NodeId;
const nonce = '000102030405060708090a0b0c0d0e0f' as Nonce;
const request: ProbeRequest = { kind: 'request', from: a, to: b, nonce };
const answer: ProbeAnswer = {
  kind: 'answer',
  from: b,
  to: a,
  nonce,
  instance: '0123456789abcdef',
  applied: { revision: 2 ** 40 + 1, p50Ms: 12, p99Ms: 345, changes: 6, storeAgeMs: 7890 },
};

t.test('there and back', (t) => {
  t.same(decodeMessage(encodeMessage(request, key), key), request);
  t.same(decodeMessage(encodeMessage(answer, key), key), answer);
  const anybody: ProbeRequest = { kind: 'request', from: a, nonce };
  t.same(decodeMessage(encodeMessage(anybody, key), key), anybody);
  t.equal(encodeMessage(request, key).length, MESSAGE_BYTES);
  t.equal(encodeMessage(answer, key).length, MESSAGE_BYTES, 'an answer is no larger than what it answers');
  t.end();
});

t.test('the format stays as it is: the bytes of version 1', (t) => {
  const bytes = encodeMessage(answer, key);
  t.equal(bytes.toString('hex', 0, 2), '0102');
  t.equal(bytes.toString('latin1', 2, 27), `b1${'\0'.repeat(23)}`);
  t.equal(bytes.toString('latin1', 27, 52), a);
  t.equal(bytes.toString('hex', 52, 68), nonce);
  t.equal(bytes.toString('hex', 68, 100), '0123456789abcdef00000100000000010000000c000001590000000600001ed2');
  t.end();
});

t.test('numbers are kept within their fields', (t) => {
  const odd = { ...answer, applied: { revision: 0, p50Ms: 0.2, p99Ms: 1e12, changes: -1, storeAgeMs: Number.NaN } };
  const read = decodeMessage(encodeMessage(odd, key), key) as ProbeAnswer;
  t.same(read.applied, { revision: 0, p50Ms: 1, p99Ms: 2 ** 32 - 1, changes: 0, storeAgeMs: 0 });
  t.end();
});

t.test('what cannot be written', (t) => {
  t.throws(() => encodeMessage({ ...request, from: 'x'.repeat(26) as NodeId }, key), RangeError);
  t.throws(() => encodeMessage({ ...request, to: '' as NodeId }, key), RangeError);
  t.throws(() => encodeMessage({ ...answer, instance: 'beef' }, key), RangeError);
  t.ok(isProbeId(a));
  t.notOk(isProbeId('UPPER' as NodeId));
  t.end();
});

t.test('every changed bit, every other length, every other key', (t) => {
  for (const message of [request, answer]) {
    const good = encodeMessage(message, key);
    for (let bit = 0; bit < 8 * good.length; bit++) {
      const bad = Buffer.from(good);
      bad[bit >> 3] = (bad[bit >> 3] ?? 0) ^ (1 << (bit & 7));
      const read = decodeMessage(bad, key);
      if (read !== (bit < 8 ? 'other-version' : 'wrong-key')) t.fail(`bit ${bit}: ${JSON.stringify(read)}`);
    }
    for (let length = 0; length < good.length; length++)
      if (decodeMessage(good.subarray(0, length), key) !== 'malformed') t.fail(`${length} bytes`);
    t.equal(decodeMessage(Buffer.concat([good, Buffer.alloc(1)]), key), 'malformed');
    t.equal(decodeMessage(good, Buffer.alloc(KEY_BYTES, 8)), 'wrong-key');
  }
  t.end();
});

t.test('whoever has the key may still write nonsense', (t) => {
  fc.assert(
    fc.property(fc.uint8Array({ minLength: 100, maxLength: 100 }), fc.constantFrom(1, 2, 3), (body, type) => {
      const bytes = Buffer.concat([body, Buffer.alloc(16)]);
      bytes[0] = 1;
      bytes[1] = type;
      // The codec's own signature, over these bytes.
      const signed = resign(bytes);
      const read = decodeMessage(signed, key);
      return typeof read === 'object' ? encodeMessage(read, key).equals(signed) || type === 1 : read === 'malformed';
    }),
    { seed: 5, numRuns: 500 },
  );
  t.pass('read as it was written, or not at all');
  t.end();
});

t.test('random bytes', (t) => {
  fc.assert(
    fc.property(
      fc.uint8Array({ maxLength: 300 }),
      (bytes) => typeof decodeMessage(Buffer.from(bytes), key) === 'string',
    ),
    { seed: 6, numRuns: 2000 },
  );
  for (let round = 0; round < 2000; round++) {
    const bytes = randomBytes(MESSAGE_BYTES);
    bytes[0] = 1;
    if (decodeMessage(bytes, key) !== 'wrong-key') t.fail(bytes.toString('hex'));
  }
  t.pass('are no messages');
  t.end();
});

t.test('nonces', (t) => {
  const random = seededRandom(9);
  const nonces = new Set(Array.from({ length: 10_000 }, () => newNonce(random)));
  t.equal(nonces.size, 10_000);
  t.ok([...nonces].every((one) => /^[0-9a-f]{32}$/.test(one)));
  t.end();
});

function resign(bytes: Buffer): Buffer {
  createHmac('sha256', key).update(bytes.subarray(0, 100)).digest().copy(bytes, 100, 0, 16);
  return bytes;
}
