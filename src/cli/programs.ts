// Where programs of the machine are.
import { existsSync } from 'node:fs';
import { join } from 'node:path';

/** In PATH, in the folders for administrators' programs, which a root by `su` does not have in it, or in these. */
export function findProgram(program: string, alsoIn: readonly string[] = []): string | undefined {
  const folders = [...(process.env.PATH ?? '').split(':'), '/usr/sbin', '/sbin', ...alsoIn];
  return folders.map((folder) => join(folder, program)).find((path) => existsSync(path));
}
