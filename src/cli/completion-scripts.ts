// The scripts by which shells complete our command lines. PURE: the tree of commands in, text out.
//
// All three work alike: the words so far say at which command the cursor stands (its place), and what that command takes is
// offered. Names of services and the like are asked of the agent, silently: without one nothing is offered.
import { type CommandEntry, type FlagEntry, NAMES, type Noun } from './completion-tree.ts';

export const SHELLS = ['bash', 'zsh', 'fish'] as const;
export type ShellName = (typeof SHELLS)[number];

export function completionScript(shell: ShellName, tree: readonly CommandEntry[]): string {
  switch (shell) {
    case 'bash':
      return bashScript(tree);
    case 'zsh':
      return zshScript(tree);
    case 'fish':
      return fishScript(tree);
  }
}

function bashScript(tree: readonly CommandEntry[]): string {
  const places = tree.map((entry) => {
    const commands = entry.children.map(({ name }) => name).join(' ');
    const flags = entry.flags.flatMap(({ spellings }) => spellings).join(' ');
    return `    ${patterns(entry)}) commands='${commands}' flags='${flags}' ask='${nounOf(entry)}' ;;`;
  });
  return `# bash completion for vipmesh. Load it with: source <(vipmesh completion bash)

_vipmesh_at() {
  case "$1" in
${places.join('\n')}
    *) return 1 ;;
  esac
}

${valueFunction(tree)}
_vipmesh() {
  local word="\${COMP_WORDS[COMP_CWORD]}" previous="\${COMP_WORDS[COMP_CWORD-1]}" place='' i reply commands flags ask
  # An equals sign is a word of its own for bash.
  if [[ $word == '=' ]]; then word=''; elif [[ $previous == '=' ]]; then previous="\${COMP_WORDS[COMP_CWORD-2]}"; fi
  _vipmesh_at ''
  for (( i = 1; i < COMP_CWORD; i++ )); do
    if [[ \${COMP_WORDS[i]} == '--' ]]; then return; fi
    if _vipmesh_at "\${place:+$place }\${COMP_WORDS[i]}"; then place="\${place:+$place }\${COMP_WORDS[i]}"; fi
  done
  if reply="$(_vipmesh_values "$place $previous")"; then :
  elif [[ $word == -* ]]; then reply="$flags"
  elif [[ -n $ask ]]; then reply="$(_vipmesh_names "$ask")"
  else reply="$commands"; fi
  COMPREPLY=( $(compgen -W "$reply" -- "$word") )
}

complete -o default -F _vipmesh vipmesh
`;
}

function zshScript(tree: readonly CommandEntry[]): string {
  const described = (name: string, description: string) =>
    quote(`${name.replaceAll(':', '\\:')}:${description}`, "'\\''");
  const places = tree.map((entry) => {
    const commands = entry.children.map(({ name, description }) => described(name, description));
    const flags = entry.flags.flatMap(({ spellings, description }) =>
      spellings.map((spelling) => described(spelling, description)),
    );
    return `    ${patterns(entry)}) subcommands=(${commands.join(' ')}) flags=(${flags.join(' ')}) ask='${nounOf(entry)}' ;;`;
  });
  return `#compdef vipmesh
# zsh completion for vipmesh. Load it with: source <(vipmesh completion zsh)
# or put it where zsh looks: vipmesh completion zsh > "\${fpath[1]}/_vipmesh"

_vipmesh_at() {
  case "$1" in
${places.join('\n')}
    *) return 1 ;;
  esac
}

${valueFunction(tree)}
_vipmesh() {
  local place='' ask='' reply i
  local -a subcommands flags found
  _vipmesh_at ''
  for (( i = 2; i < CURRENT; i++ )); do
    if [[ \${words[i]} == '--' ]]; then _files; return; fi
    if _vipmesh_at "\${place:+$place }\${words[i]}"; then place="\${place:+$place }\${words[i]}"; fi
  done
  if reply="$(_vipmesh_values "$place \${words[CURRENT-1]}")"; then
    found=(\${(f)reply})
    compadd -- $found
  elif [[ \${words[CURRENT]} == -* ]]; then
    _describe 'flag' flags
  elif [[ -n $ask ]]; then
    found=(\${(f)"$(_vipmesh_names "$ask")"})
    compadd -- $found
  elif (( \${#subcommands} > 0 )); then
    _describe 'command' subcommands
  else
    _files
  fi
}

compdef _vipmesh vipmesh
if [[ "\${funcstack[1]}" == '_vipmesh' ]]; then _vipmesh; fi
`;
}

/** What a flag takes, where that is known, one word a line: the same text for bash and zsh. Status 1: anything. */
function valueFunction(tree: readonly CommandEntry[]): string {
  const lines = tree.flatMap((entry) =>
    entry.flags.flatMap((flag) => {
      const found = valuesOf(flag);
      if (found === undefined) return [];
      const places = [entry.path, ...entry.aliases].flatMap((path) =>
        flag.spellings.map((spelling) => `'${path} ${spelling}'`),
      );
      return [`    ${places.join('|')}) ${found} ;;`];
    }),
  );
  const asks = Object.entries(NAMES).map(([noun, command]) => `    ${noun}) ${command} 2>/dev/null ;;`);
  return `_vipmesh_names() {
  case "$1" in
${asks.join('\n')}
  esac
}

_vipmesh_values() {
  case "$1" in
${lines.join('\n')}
    *) return 1 ;;
  esac
}
`;
}

function valuesOf({ choices, noun, takesValue }: FlagEntry): string | undefined {
  if (choices.length > 0) return `printf '%s\\n' ${choices.join(' ')}`;
  return noun === undefined || !takesValue ? undefined : `_vipmesh_names ${noun}`;
}

function fishScript(tree: readonly CommandEntry[]): string {
  const cases = tree
    .filter(({ path }) => path !== '')
    .flatMap(({ path, aliases }) => [
      `      case '${path}'`,
      `        set place '${path}'`,
      ...aliases.flatMap((alias) => [`      case '${alias}'`, `        set place '${path}'`]),
    ]);
  return `# fish completion for vipmesh. Load it with: vipmesh completion fish | source
# or keep it: vipmesh completion fish > ~/.config/fish/completions/vipmesh.fish

function __vipmesh_at --description 'Whether the words so far are those of this command'
  set -l place ''
  set -l words (commandline -opc)
  for word in $words[2..-1]
    switch (string trim -- "$place $word")
${cases.join('\n')}
    end
  end
  test "$place" = "$argv[1]"
end

complete -c vipmesh -f
${tree.flatMap(fishLines).join('\n')}
`;
}

function fishLines(entry: CommandEntry): readonly string[] {
  const here = `complete -c vipmesh -n ${quote(`__vipmesh_at '${entry.path}'`, "\\'")}`;
  const children = entry.children.map(({ name, description }) => `${here} -a ${name} -d ${quote(description, "\\'")}`);
  const flags = entry.flags.map((flag) => {
    const spellings = flag.spellings.map((one) => (one.startsWith('--') ? `-l ${one.slice(2)}` : `-s ${one.slice(1)}`));
    return `${here} ${spellings.join(' ')}${fishValue(flag)} -d ${quote(flag.description, "\\'")}`;
  });
  const noun = nounOf(entry);
  const words = noun !== '' ? [`${here} -a ${fishNames(noun)}`] : entry.argument === 'other' ? [`${here} -F`] : [];
  return [...children, ...flags, ...words];
}

function fishValue({ choices, noun, takesValue }: FlagEntry): string {
  if (choices.length > 0) return ` -x -a '${choices.join(' ')}'`;
  if (!takesValue) return '';
  return noun === undefined ? ' -r -F' : ` -x -a ${fishNames(noun)}`;
}

function fishNames(noun: Noun): string {
  return quote(`(${NAMES[noun]} 2>/dev/null)`, "\\'");
}

function nounOf({ argument }: CommandEntry): Noun | '' {
  return argument === undefined || argument === 'other' ? '' : argument;
}

function patterns({ path, aliases }: CommandEntry): string {
  return [path, ...aliases].map((one) => `'${one}'`).join('|');
}

/** In single quotes; `apostrophe` is how one stands inside them in that shell. */
function quote(text: string, apostrophe: string): string {
  return `'${text.replaceAll("'", apostrophe)}'`;
}
