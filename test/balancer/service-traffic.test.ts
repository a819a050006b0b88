import t from 'tap';
import { ServiceTraffic, type Traffic } from '../../src/balancer/service-traffic.ts';
import { service } from '../support/builders.ts';

const [web, db] = [service('web'), service('db')];

t.test('a service keeps what its endpoints moved when their slots go to others', (t) => {
  const counts = new Map<number, number>();
  const traffic = new ServiceTraffic((slot): Traffic => {
    const total = counts.get(slot) ?? 0;
    return { total, failures: 0, bytesToClient: 10 * total, bytesToEndpoint: 0, active: 0, flows: 0 };
  });
  // As the agent does it: asked before the counters begin anew.
  const begin = (slot: number, id = web.id) => {
    traffic.begin(slot, id);
    counts.set(slot, 0);
  };
  t.equal(traffic.of(web.id).total, 0);
  begin(0);
  begin(1);
  counts.set(0, 3).set(1, 4);
  t.match(traffic.of(web.id), { total: 7, bytesToClient: 70 });
  begin(1, db.id);
  counts.set(1, 5);
  t.match(traffic.of(web.id), { total: 7, bytesToClient: 70 });
  t.match(traffic.of(db.id), { total: 5, bytesToClient: 50 });
  begin(0);
  counts.set(0, 1);
  t.equal(traffic.of(web.id).total, 8, 'an endpoint of the same service');

  traffic.forgetRemoved([{ kind: 'service', before: db }]);
  t.equal(traffic.of(db.id).total, 0);
  begin(1);
  t.equal(traffic.of(db.id).total, 0, 'what has been forgotten stays so');
  t.equal(traffic.of(web.id).total, 8);
  t.end();
});
