// `--port`. PURE.
import { InvalidArgumentError } from 'commander';
import { parsePort } from '../model/port.ts';

/** For commander, which says which option it was. */
export function readPort(text: string): number {
  const port = parsePort(text);
  if (port === undefined) throw new InvalidArgumentError('It is a number from 1 to 65535.');
  return port;
}
