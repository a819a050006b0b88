// Importing this, before this process leaves the machine's network, installs PostgreSQL where that is possible.
import { execFileSync } from 'node:child_process';
import { appendFileSync, chownSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { findProgram, isRoot, needsPackages } from '../../support/requirements.ts';

const PROGRAMS = { postgres: 'postgresql', initdb: 'postgresql', psql: 'postgresql' };
/** What Debian's packages do once they are installed: without this they start a database of their own. */
const POLICY_FOLDER = '/etc/postgresql-common/createcluster.d';
const POLICY = join(POLICY_FOLDER, `vipmesh-test-${process.pid}.conf`);

if (isRoot && Object.keys(PROGRAMS).some((program) => findProgram(program) === undefined)) {
  mkdirSync(POLICY_FOLDER, { recursive: true });
  writeFileSync(POLICY, 'create_main_cluster = false\n');
  try {
    // Whether it could be done is said by the test itself.
    needsPackages({ pass: () => undefined, fail: () => undefined }, PROGRAMS);
  } finally {
    rmSync(POLICY);
  }
}

/** True when it is there; otherwise has said why the test did not run. */
export function needsPostgres(t: Parameters<typeof needsPackages>[0]): boolean {
  return needsPackages(t, PROGRAMS);
}

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
