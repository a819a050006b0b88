// `vipmesh completion`: made from the commands themselves, so that it cannot be out of date.
import { Argument, type Command } from 'commander';
import { completionScript, SHELLS, type ShellName } from './completion-scripts.ts';
import { commandTree } from './completion-tree.ts';
import { localCommand, type Shell } from './shell.ts';

export function completionCommand(shell: Shell): Command {
  return localCommand('completion', 'print a script that completes command lines in your shell', [
    'source <(vipmesh completion bash)',
    'vipmesh completion zsh > ~/.zfunc/_vipmesh        # a folder of your $fpath',
    'vipmesh completion fish > ~/.config/fish/completions/vipmesh.fish',
  ])
    .addArgument(new Argument('<SHELL>', 'whose script').choices(SHELLS))
    .action((name: ShellName, _flags: object, self: Command) => {
      shell.out(completionScript(name, commandTree(rootOf(self))));
    });
}

function rootOf(command: Command): Command {
  return command.parent === null ? command : rootOf(command.parent);
}
