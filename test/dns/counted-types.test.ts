import t from 'tap';
import { COUNTED_TYPES, placeOfType } from '../../src/dns/counted-types.ts';
import { question } from '../support/dns-messages.ts';
import { askUdp, startDnsWorker } from '../support/dns-worker.ts';
import { TOTAL } from '../../src/runtime/worker-env.ts';

t.test('each has a place of its own, and none is another counter', (t) => {
  const places = Object.values(COUNTED_TYPES).map(placeOfType);
  t.equal(new Set(places).size, places.length);
  for (const place of places) t.ok(place > 0 && TOTAL.dnsTypes + place < TOTAL.dnsUpstreams, `${place}`);
  for (const type of [0, 41, 99, 254, 256, 65_535]) t.equal(placeOfType(type), 0, `${type}`);
  t.end();
});

t.test('questions are counted by type, whatever they are answered', async (t) => {
  const worker = await startDnsWorker();
  for (const type of ['A', 'A', 'AAAA', 'MX', 'DNAME', 'CAA'] as const) await askUdp(worker, question('web', type));
  const counted = (type: number) => worker.total(TOTAL.dnsTypes + placeOfType(type));
  const { A, AAAA, MX, PTR } = COUNTED_TYPES;
  t.strictSame([A, AAAA, MX, PTR, 0].map(counted), [2, 1, 1, 0, 2]);
});
