// `vipmesh agent`: flags as they were written; what they mean is the business of the settings.
import { Command, Option } from 'commander';
import { collect, type Shell, withExamples } from './shell.ts';

/** One setting as the help shows it. */
export interface AgentFlag {
  /** `--dns <ADDR:PORT>`. */
  readonly flag: string;
  readonly help: string;
  readonly defaultText?: string;
  readonly repeatable?: boolean;
}

export type FlagValues = Readonly<Record<string, string | readonly string[] | boolean | undefined>>;

/** `start` runs the agent until it has ended. */
export function agentCommand(
  shell: Shell,
  flags: readonly AgentFlag[],
  start: (values: FlagValues) => Promise<number>,
): Command {
  const command = new Command('agent').description('run the agent of this node in the foreground');
  for (const { flag, help, defaultText, repeatable } of flags) {
    const option = new Option(flag, defaultText === undefined ? help : `${help} (default: ${defaultText})`);
    command.addOption(repeatable === true ? option.argParser(collect) : option);
  }
  command.addHelpText(
    'after',
    '\nEach flag is also read from the environment: VIPMESH_STATE_DIR for --state-dir and so on, lists separated by commas.',
  );
  return withExamples(command, [
    'vipmesh agent --stack shop=compose.yaml',
    'vipmesh agent --upstream 9.9.9.9 --workers 2 --log-format json',
    'VIPMESH_DNS=127.0.0.1:5353 vipmesh agent',
  ]).action(async (_flags: object, self: Command) => {
    const values = Object.fromEntries(
      self.options.map((option) => [option.long?.slice(2) ?? '', self.opts()[option.attributeName()]]),
    );
    shell.fail(await start(values));
  });
}
