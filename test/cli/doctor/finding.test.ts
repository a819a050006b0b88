// How findings are written for the user.
import t from 'tap';
import { formatFindings } from '../../../src/cli/doctor/finding.ts';

t.test('how it is written', async (t) => {
  t.equal(
    formatFindings([
      { level: 'ok', check: 'a', what: 'fine' },
      { level: 'bad', check: 'b', what: 'line one\nline two', advice: 'mend it' },
    ]),
    'ok    fine\nbad   line one; line two\n      mend it\n',
  );
});
