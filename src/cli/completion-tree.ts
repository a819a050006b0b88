// All commands with their flags, as the completion scripts need them. PURE.
import type { Argument, Command, Option } from 'commander';

export interface CommandEntry {
  /** `service create`; the program itself is ``. */
  readonly path: string;
  /** Other spellings of the path: `service remove`. */
  readonly aliases: readonly string[];
  readonly children: readonly Described[];
  readonly flags: readonly FlagEntry[];
  /** What the words behind it are: a noun whose names can be asked for, or anything else. */
  readonly argument: Noun | 'other' | undefined;
}

export interface Described {
  readonly name: string;
  readonly description: string;
}

export interface FlagEntry extends Described {
  /** `-p` and `--publish`; `name` is the long one. */
  readonly spellings: readonly string[];
  readonly takesValue: boolean;
  /** The words that it takes, where they are known. */
  readonly choices: readonly string[];
  readonly noun: Noun | undefined;
}

/** Kinds of objects, and the command that prints their names one a line. */
export const NAMES = {
  SERVICE: "vipmesh service ls --format '{{.Name}}'",
  NETWORK: "vipmesh network ls --format '{{.Name}}'",
  NODE: "vipmesh node ls --format '{{.Hostname}}'",
  STACK: 'vipmesh stack ls -q',
} as const;
export type Noun = keyof typeof NAMES;

/** Every command below `program`, itself included; aliases are understood and not offered. */
export function commandTree(program: Command): readonly CommandEntry[] {
  return walk(program, '', []);
}

function walk(command: Command, path: string, aliases: readonly string[]): readonly CommandEntry[] {
  const children = command.commands.map((child) => ({ name: child.name(), description: child.description() }));
  const help = { name: '--help', description: 'display help for command', spellings: ['-h', '--help'], ...NO_VALUE };
  const entry = {
    path,
    aliases,
    children,
    flags: [...command.options.map(flagEntry), help],
    argument: command.commands.length > 0 ? undefined : argumentOf(command.registeredArguments),
  };
  const below = (name: string) => `${path} ${name}`.trim();
  return [entry, ...command.commands.flatMap((child) => walk(child, below(child.name()), child.aliases().map(below)))];
}

const NO_VALUE = { takesValue: false, choices: [], noun: undefined } as const;

function flagEntry(option: Option): FlagEntry {
  const name = option.long ?? option.short ?? option.flags;
  return {
    name,
    description: option.description,
    spellings: [option.short, option.long].filter((one) => one !== undefined),
    takesValue: option.required,
    choices: option.argChoices ?? [],
    noun: nounOf(/<([A-Z]+)>/.exec(option.flags)?.[1] ?? ''),
  };
}

function argumentOf([first]: readonly Argument[]): Noun | 'other' | undefined {
  if (first === undefined) return undefined;
  return nounOf(first.name()) ?? 'other';
}

function nounOf(name: string): Noun | undefined {
  return Object.hasOwn(NAMES, name) ? (name as Noun) : undefined;
}
