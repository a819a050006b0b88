// Whether a terminal sends us its keys: ctrl-C and the like go to the terminal's foreground process group.
import { readFileSync } from 'node:fs';

/** `foreground`: an interactive command may use the terminal. `background`: started with `&`. `none`: no terminal at all. */
export type TerminalPlace = 'foreground' | 'background' | 'none';

export function terminalPlace(stdinIsTerminal: boolean): TerminalPlace {
  if (!stdinIsTerminal) return 'none';
  return parseForeground(readFileSync('/proc/self/stat', 'utf8')) ? 'foreground' : 'background';
}

/** proc(5), fields 5 (our process group) and 8 (the foreground one of our terminal; -1 when there is none). */
export function parseForeground(stat: string): boolean {
  // The second field is the program's name in parentheses, and may hold anything, parentheses included.
  const [, , group, , , foreground] = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return group === foreground;
}
