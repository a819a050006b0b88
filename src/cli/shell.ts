// What every command is given: where it writes, who it asks, and how it says that it failed.
import { Command } from 'commander';
import { type ApiClient, createClient, socketOf } from '../api/client.ts';

export interface Shell {
  out(text: string): void;
  err(text: string): void;
  readonly env: Readonly<Record<string, string | undefined>>;
  /** Milliseconds since the epoch. */
  now(): number;
  /**
   * Sets the exit status; of several the highest counts. 0: done, 1: it failed, 2: misuse of the command line; only `run`
   * has more, those of its command.
   */
  fail(exitCode: number): void;
}

/** `USAGE`: the command line cannot be what was meant, status 2. `FAILED`: it was understood and cannot be done, status 1. */
export class CliError extends Error {
  readonly code: 'USAGE' | 'FAILED';
  constructor(code: 'USAGE' | 'FAILED', message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = 'CliError';
    this.code = code;
  }
}

/** The stable code that every room's errors have; undefined for anything else that was thrown. */
export function errorCode(error: unknown): string | undefined {
  return error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : undefined;
}

/** A command that asks the agent: with `--host`, and with examples at the end of its help. */
export function apiCommand(name: string, description: string, examples: readonly string[]): Command {
  return withExamples(
    new Command(name)
      .description(description)
      .option('-H, --host <SOCKET>', "the agent's socket (default: $VIPMESH_HOST)"),
    examples,
  );
}

/** A command that asks nobody. */
export function localCommand(name: string, description: string, examples: readonly string[]): Command {
  return withExamples(new Command(name).description(description), examples);
}

export function withExamples(command: Command, examples: readonly string[]): Command {
  return command.addHelpText('after', `\nExamples:\n${examples.map((example) => `  ${example}`).join('\n')}`);
}

/** The agent that this command is about: its own `--host` before the program's before VIPMESH_HOST. */
export function clientOf(command: Command, shell: Shell): ApiClient {
  const own: unknown = command.opts().host;
  const global: unknown = command.optsWithGlobals().host;
  const host = typeof own === 'string' ? own : typeof global === 'string' ? global : undefined;
  return createClient(socketOf(host, shell.env));
}

/** For `--filter key=value`, given any number of times. */
export function collect(value: string, before: readonly string[] | undefined): readonly string[] {
  return [...(before ?? []), value];
}

/** `name=web`, `label=tier=front` → Docker's JSON; undefined when there is none. Throws CliError. */
export function filterQuery(filters: readonly string[] | undefined): string | undefined {
  if (filters === undefined || filters.length === 0) return undefined;
  const lists: Record<string, string[]> = {};
  for (const filter of filters) {
    const equals = filter.indexOf('=');
    if (equals < 1) throw new CliError('USAGE', `--filter should be KEY=VALUE, such as name=web, not "${filter}"`);
    const key = filter.slice(0, equals);
    lists[key] = [...(lists[key] ?? []), filter.slice(equals + 1)];
  }
  return JSON.stringify(lists);
}
