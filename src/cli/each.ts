// Commands over several objects (`rm A B …`, `scale A=1 B=2`): what fails is said, the others are done, and then the status is 1.
import { errorCode, type Shell } from './shell.ts';

/** Prints what `act` resolves with, a line each. What no other object could do better ends it all: an agent that is not there. */
export async function forEach<T>(shell: Shell, items: readonly T[], act: (item: T) => Promise<string>): Promise<void> {
  for (const item of items) {
    try {
      const text = await act(item);
      if (text !== '') shell.out(`${text}\n`);
    } catch (error) {
      const code = errorCode(error);
      if (!(error instanceof Error) || code === undefined || GENERAL.includes(code)) throw error;
      shell.err(`vipmesh: ${error.message}\n`);
      shell.fail(1);
    }
  }
}

const GENERAL = ['AGENT_NOT_RUNNING', 'AGENT_INCOMPATIBLE', 'USAGE'];
