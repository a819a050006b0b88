// The real Docker Engine of a test, which imports docker-packages.ts first.
import t from 'tap';
import { endWithProcess } from '../../support/agent.ts';
import { type Docker, makeDocker } from './docker-engine.ts';
import { needsDockerPackages } from './docker-packages.ts';

/** Undefined where the test cannot run; why was then said. Ends with the test, and all its containers with it. */
export async function startDocker(test: Parameters<typeof needsDockerPackages>[0]): Promise<Docker | undefined> {
  if (!needsDockerPackages(test)) return undefined;
  const { start, clean } = makeDocker();
  endWithProcess(clean);
  t.teardown(clean);
  return start();
}
