// PostgreSQL for the demo, its data freshly initialised below the demo's folder.
import { execFile, execFileSync } from 'node:child_process';
import { appendFileSync, chownSync, existsSync, mkdirSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { findProgram } from '../programs.ts';
import type { Stage } from './stage.ts';

const POSTGRES = '/usr/lib/postgresql';

/**
 * The command that serves PostgreSQL on these addresses, `*` for all; undefined where there is no PostgreSQL. Rejects when its data
 * cannot be made.
 */
export async function databaseCommand(stage: Stage, addresses: string): Promise<readonly string[] | undefined> {
  const [initdb, postgres] = ['initdb', 'postgres'].map((program) => findProgram(program, databaseFolders()));
  if (initdb === undefined || postgres === undefined) return undefined;
  const data = join(stage.folder, 'postgres');
  mkdirSync(data, { mode: 0o700 });
  // PostgreSQL refuses to run as root, so there it becomes its own user, which Debian's package made.
  const as = stage.asRoot ? ['setpriv', '--reuid=postgres', '--regid=postgres', '--clear-groups'] : [];
  if (stage.asRoot) chownSync(data, idOf('-u'), idOf('-g'));
  const [program = initdb, ...words] = [...as, initdb, '-D', data, '-A', 'trust', '--no-sync'];
  await promisify(execFile)(program, words, { cwd: '/' });
  appendFileSync(join(data, 'pg_hba.conf'), '\nhost all all all trust\n');
  const serve = [...as, postgres, '-D', data, '-k', data, '-c', `"listen_addresses=${addresses}"`].join(' ');
  return ['sh', '-c', `cd / && exec ${serve}`];
}

/** Debian keeps PostgreSQL's servers out of PATH. */
export function databaseFolders(): readonly string[] {
  return existsSync(POSTGRES) ? readdirSync(POSTGRES).map((version) => join(POSTGRES, version, 'bin')) : [];
}

function idOf(flag: '-u' | '-g'): number {
  return Number(execFileSync('id', [flag, 'postgres'], { encoding: 'utf8' }));
}
