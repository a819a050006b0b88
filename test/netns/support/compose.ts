// Containers as `docker compose` makes them: what is on this machine need not have it.
import type { Docker } from './docker-engine.ts';
import type { Agent } from '../../support/agent.ts';
import { endpoints } from './mesh.ts';
import { until } from './tasks.ts';

export const NETWORK = 'shop_default';
/** Each says its own name. */
export const SERVE = 'hostname >/www/index.html; exec httpd -f -p 80 -h /www';

/** As `docker compose up --scale SERVICE=N` starts the N-th container. */
export function composeUp(docker: Docker, service: string, number: number, ...options: string[]): Promise<string> {
  const name = `shop-${service}-${number}`;
  return docker.start(
    ...['--name', name, '--hostname', name, '--network', NETWORK, '--network-alias', service],
    ...['--label', 'com.docker.compose.project=shop', '--label', `com.docker.compose.service=${service}`],
    ...[...options, 'box', 'sh', '-c', SERVE],
  );
}

/** Waits until these tasks, each once, and no others are eligible. Resolves with their ids, by name. */
export async function untilEligible(agent: Agent, ...names: string[]): Promise<Readonly<Record<string, string>>> {
  const found = await until(
    `${names} are eligible`,
    async () => (await endpoints(agent)).filter(({ Eligible }) => Eligible),
    (all) =>
      all
        .map(({ Task }) => Task)
        .sort()
        .join() === [...names].sort().join(),
  );
  return Object.fromEntries(found.map(({ Task, TaskID }) => [Task, TaskID]));
}
