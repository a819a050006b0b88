// A real PostgreSQL for a task to run.
import { execFileSync } from 'node:child_process';
import { appendFileSync, chownSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { findProgram } from '../../support/requirements.ts';

/** The command of a server with a new database of its own, which listens everywhere and lets everybody in. */
export function postgresCommand(): readonly string[] {
  const folder = mkdtempSync(join(tmpdir(), 'vipmesh-test-postgres-'));
  t.teardown(() => rmSync(folder, { recursive: true, force: true }));
  const [uid, gid] = ['-u', '-g'].map((flag) => Number(execFileSync('id', [flag, 'postgres'], { encoding: 'utf8' })));
  chownSync(folder, uid ?? 0, gid ?? 0);
  const data = join(folder, 'data');
  const asItself = ['-u', 'postgres', '--'];
  const initdb = [findProgram('initdb') ?? '', '-D', data, '-A', 'trust', '--no-sync', '--locale=C'];
  execFileSync('runuser', [...asItself, ...initdb], { stdio: 'ignore', cwd: '/' });
  appendFileSync(join(data, 'pg_hba.conf'), 'host all all all trust\n');
  const server = [
    findProgram('postgres') ?? '',
    '-D',
    data,
    '-k',
    folder,
    '-c',
    'listen_addresses=*',
    '-c',
    'fsync=off',
  ];
  return ['runuser', ...asItself, ...server];
}
