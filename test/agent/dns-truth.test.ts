// Services come, go and change while names are asked for: no answer says what was true at no moment between question and answer.
import t from 'tap';
import { createClient } from '../../src/api/client.ts';
import { startAgent } from '../support/agent.ts';
import { refusingPort } from '../support/ports.ts';
import { History } from '../support/truth/history.ts';
import { runTruth } from '../support/truth/run.ts';

const QUESTIONS = 120_000;

t.test('what counts as true', (t) => {
  const history = new History();
  history.begin('web A', 'NXDOMAIN');
  // Commanded at 100, acknowledged at 110, in effect at 112; and the next from 200 on.
  history.change('web A', 'NOERROR 10.0.0.1', 100, 110, 112);
  history.change('web A', 'NOERROR 10.0.0.1', 150, 151, 152);
  history.change('web A', 'NOERROR 10.0.0.2', 200, 210, 212);
  const judge = (answer: string, sentAt: number, receivedAt: number) => {
    const verdict = history.judge({ question: 'web A', answer, sentAt, receivedAt });
    return verdict.true ? verdict.lateMs : 'untrue';
  };
  t.equal(judge('NXDOMAIN', 90, 95), -20);
  t.equal(judge('NOERROR 10.0.0.1', 90, 99), 'untrue', 'too early');
  t.equal(judge('NOERROR 10.0.0.1', 90, 100), -120);
  t.equal(judge('NXDOMAIN', 111, 115), 1, 'after it was acknowledged that there is one');
  t.equal(judge('NXDOMAIN', 113, 115), 'untrue', 'after it was in effect');
  t.equal(judge('NXDOMAIN', 80, 300), -30, 'the answer was long on its way');
  t.equal(judge('NOERROR 10.0.0.1', 213, 215), 'untrue');
  t.equal(judge('NOERROR 10.0.0.2', 213, 215), Number.NEGATIVE_INFINITY);
  t.equal(judge('NOERROR 10.0.0.1 10.0.0.2', 190, 215), 'untrue', 'never both');
  t.equal(history.changes, 2);
  t.end();
});

t.test('every answer was true at some moment', async (t) => {
  const agent = await startAgent({ args: ['--workers', '2', '--upstream', `127.0.0.1:${refusingPort()}`] });
  const seed = Number(process.env.VIPMESH_SEED ?? Math.floor(Math.random() * 1e9));
  const truth = await runTruth({
    client: createClient(agent.folder.socket),
    address: '127.0.0.11',
    port: agent.folder.dnsPort,
    questions: QUESTIONS,
    rate: 15_000,
    services: 12,
    seed,
    pauseMs: 10,
  });
  t.strictSame(truth.examples, [], `seed ${seed} (again with VIPMESH_SEED=${seed})`);
  t.equal(truth.untrue, 0);
  t.equal(truth.answers, QUESTIONS);
  t.ok(truth.commands > 50 && truth.meanings > 100, `${truth.commands} commands, ${truth.meanings} meanings`);
});
