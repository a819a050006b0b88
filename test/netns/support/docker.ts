// The real Docker Engine of a test.
import t from 'tap';
import { endWithProcess } from '../../support/agent.ts';
import { needsPrograms } from '../../support/requirements.ts';
import { type Docker, makeDocker } from './docker-engine.ts';

/** Undefined where the test cannot run; why was then said. Ends with the test, and all its containers with it. */
export async function startDocker(test: Parameters<typeof needsPrograms>[0]): Promise<Docker | undefined> {
  if (!needsPrograms(test, 'dockerd', 'iptables', 'busybox')) return undefined;
  const { start, clean } = makeDocker();
  endWithProcess(clean);
  t.teardown(clean);
  return start();
}
