// What the whole program is, whichever of its commands are loaded: its own options, and what errors mean for the exit status.
import { Command, CommanderError } from 'commander';
import { errorCode, type Shell, withExamples } from './shell.ts';

/** Runs one command line (without node and script); resolves with the exit status. Never rejects. */
export async function runCommandLine(
  words: readonly string[],
  shell: Shell,
  build: (counting: Shell) => Command,
): Promise<number> {
  const status = { code: 0 };
  const counting: Shell = { ...shell, fail: (code) => (status.code = Math.max(status.code, code)) };
  try {
    await build(counting).parseAsync([...words], { from: 'user' });
  } catch (error) {
    counting.fail(explain(error, shell));
  }
  return status.code;
}

/** The program with these commands, ready to be parsed or walked. */
export function programOf(shell: Shell, version: string, commands: readonly Command[]): Command {
  const program = new Command('vipmesh')
    .description('Service discovery, virtual IPs and a routing mesh for containers')
    .version(version, '-v, --version', 'the version')
    .option('-H, --host <SOCKET>', "the agent's socket (default: $VIPMESH_HOST)")
    .enablePositionalOptions();
  for (const command of commands) program.addCommand(command);
  withExamples(program, [
    'vipmesh agent --stack shop=compose.yaml',
    'vipmesh service create --publish 8080:80 web',
    'vipmesh run --service web -- ./server.js',
  ]);
  settle(program, shell);
  return program;
}

/** Settings that commander does not hand down to commands which were made on their own. */
function settle(command: Command, shell: Shell): void {
  command
    .exitOverride()
    .configureOutput({ writeOut: (text) => shell.out(text), writeErr: (text) => shell.err(text) })
    .showSuggestionAfterError(true);
  if (command.commands.length === 0) command.showHelpAfterError(`See '${pathOf(command)} --help'.`);
  for (const child of command.commands) settle(child, shell);
}

function pathOf(command: Command): string {
  return command.parent === null ? command.name() : `${pathOf(command.parent)} ${command.name()}`;
}

/** Docker's flags for services that have no meaning where no container is run. */
const OF_CONTAINERS =
  /^--(args|image|entrypoint|env|env-file|mount|secret|config|user|workdir|tty|hostname|host|group|dns|dns-option|dns-search|ulimit|sysctl|init|isolation|read-only|cap-(add|drop)|constraint|placement-pref|container-label|(limit|reserve|restart|rollback|stop|log)-[a-z-]+|generic-resource|replicas-max-per-node|max-concurrent|force|with-registry-auth|no-resolve-image|update-(delay|parallelism|monitor|failure-action|max-failure-ratio))(-add|-rm)?$|^-[etuw]$/;

/** The one line that a user reads about an error, and the status that goes with it. */
function explain(error: unknown, shell: Shell): number {
  if (error instanceof CommanderError) {
    const flag = /unknown option '(--?[a-z-]+)/.exec(error.message)?.[1];
    if (flag !== undefined && OF_CONTAINERS.test(flag))
      shell.err(`${flag} is about containers, and vipmesh runs none; leave it out.\n`);
    return error.exitCode === 0 ? 0 : 2;
  }
  shell.err(`vipmesh: ${error instanceof Error ? error.message : String(error)}\n`);
  const code = errorCode(error);
  return code === 'USAGE' || code === 'CONFIG_INVALID' ? 2 : 1;
}
