// Directories on the way to a file.
import { existsSync, mkdirSync } from 'node:fs';
import { dirname } from 'node:path';

/**
 * Makes a directory and those above it that are missing. Not by mkdir's own `recursive`, which never returns where nothing can
 * be made (below /proc, for one). Throws as mkdir does.
 */
export function makeDirectory(path: string, mode: number): void {
  if (existsSync(path)) return;
  makeDirectory(dirname(path), mode);
  mkdirSync(path, { mode });
}
