// `--publish` of `vipmesh run` and `attach`: what the service of the task publishes.
import type { DockerPort } from '../api/schema.ts';

export const PUBLISH_HELP = 'port that the service publishes from now on, as for service create; repeatable';

export const PUBLISH_NOTE = `
--publish is for the service, and stays when the task ends: what the service publishes already is left as it is, and a service
that does not exist is made, on the networks named. "vipmesh service update --publish-rm" takes a port back.
`;

/** Rejects with CliError. What reads the ports is not loaded for those who publish none. */
export async function publishedPorts(
  publish: readonly string[] | undefined,
): Promise<{ readonly Publish?: DockerPort[] }> {
  if (publish === undefined) return {};
  const { parsePublish } = await import('./publish-flag.ts');
  return { Publish: publish.flatMap((text) => parsePublish('--publish', text)) };
}
