// Debian's Docker client, run against an agent's socket as a user would.
import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import type { Agent, Outcome } from '../../support/agent.ts';
import { findProgram } from '../../support/requirements.ts';

/** Debian's own before any other that is on the PATH. */
const DEBIAN = '/usr/bin/docker';
/** Who waits this long waits for ever: for a task that nobody starts, say. */
const COMMAND_TIMEOUT_MS = 60_000;

export interface DockerClient {
  (...words: string[]): Promise<Outcome>;
  /** What a command prints; throws when it fails. */
  text(...words: string[]): Promise<string>;
  json<T>(...words: string[]): Promise<T>;
}

/** `env`: variables for stack files. */
export function dockerClient(agent: Agent, env: Readonly<Record<string, string>> = {}): DockerClient {
  const program = existsSync(DEBIAN) ? DEBIAN : (findProgram('docker') ?? 'docker');
  const run = (...words: string[]): Promise<Outcome> =>
    new Promise((resolve) => {
      const options = {
        // Nothing of whoever runs the test: no contexts, no other engine.
        env: { PATH: process.env.PATH, HOME: agent.folder.path, DOCKER_CONFIG: agent.folder.path, ...env },
        cwd: agent.folder.path,
        timeout: COMMAND_TIMEOUT_MS,
        killSignal: 'SIGKILL',
      } as const;
      execFile(program, ['-H', `unix://${agent.folder.socket}`, ...words], options, (error, stdout, stderr) =>
        resolve({ code: error === null ? 0 : Number(error.code ?? -1), stdout, stderr }),
      );
    });
  const text = async (...words: string[]): Promise<string> => {
    const outcome = await run(...words);
    if (outcome.code !== 0) throw new Error(`docker ${words.join(' ')}: ${outcome.code}: ${outcome.stderr}`);
    return outcome.stdout.trimEnd();
  };
  return Object.assign(run, {
    text,
    json: async <T>(...words: string[]) => JSON.parse(await text(...words)) as T,
  });
}
