import t from 'tap';
import { NO_UPSTREAM, SentQuestions, sharedQuestions } from '../../src/dns/sent-questions.ts';
import { question } from '../support/dns-messages.ts';

t.test('a question is known again by its spelling, whatever its id, by whoever shares the memory', (t) => {
  const slots = sharedQuestions();
  const [one, other] = [new SentQuestions(slots), new SentQuestions(slots)];
  const sent = question('wWw.eXampLe.coM', 'A', { id: 1 });
  one.add(sent, 7);
  t.equal(other.find(question('wWw.eXampLe.coM', 'A', { id: 2 })), 7);
  t.equal(other.find(question('www.eXampLe.coM', 'A')), NO_UPSTREAM);
  t.equal(other.find(question('wWw.eXampLe.coM', 'AAAA')), NO_UPSTREAM);
  one.remove(sent);
  t.equal(other.find(sent), NO_UPSTREAM);
  t.end();
});

t.test('what clients may well spell alike is not remembered', (t) => {
  const sent = new SentQuestions(sharedQuestions());
  for (const name of ['www.example.com', 'WWW.EXAMPLE.COM', 'wWw.eXamp.de']) {
    const message = question(name, 'A');
    sent.add(message, 1);
    t.equal(sent.find(message), NO_UPSTREAM, name);
  }
  t.end();
});
