// PostgreSQL for the demo: installed where that is possible, its data freshly initialised below the demo's folder.
import { execFileSync, spawnSync } from 'node:child_process';
import { chownSync, existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { findProgram } from './programs.ts';

export interface Place {
  readonly asRoot: boolean;
  readonly folder: string;
  readonly out: (text: string) => void;
}

/** The command that serves PostgreSQL on the task's address; undefined where there is no PostgreSQL. */
export function databaseCommand(place: Place): readonly string[] | undefined {
  const [initdb, postgres] = ['initdb', 'postgres'].map((program) => findProgram(program, serverFolders()));
  if (initdb === undefined || postgres === undefined) return undefined;
  const data = join(place.folder, 'postgres');
  mkdirSync(data, { mode: 0o700 });
  // PostgreSQL refuses to run as root, so there it becomes its own user, which Debian's package made.
  const as = place.asRoot ? ['setpriv', '--reuid=postgres', '--regid=postgres', '--clear-groups'] : [];
  if (place.asRoot) chownSync(data, idOf('-u'), idOf('-g'));
  const [program = initdb, ...words] = [...as, initdb, '-D', data, '-A', 'trust', '--no-sync'];
  execFileSync(program, words, { stdio: 'ignore', cwd: '/' });
  const rules = join(data, 'pg_hba.conf');
  writeFileSync(rules, `${readFileSync(rules, 'utf8')}\nhost all all all trust\n`);
  const listen = place.asRoot ? '*' : '$VIPMESH_ADDR';
  const serve = [...as, postgres, '-D', data, '-k', data, '-c', `"listen_addresses=${listen}"`].join(' ');
  return ['sh', '-c', `cd / && exec ${serve}`];
}

/** Program → Debian package. Installs what is missing, without starting a database of the package's own. */
export function install(place: Place, packages: Readonly<Record<string, string>>): void {
  const missing = () =>
    Object.entries(packages).flatMap(([program, name]) => (findProgram(program, serverFolders()) ? [] : [name]));
  const wanted = missing();
  if (wanted.length === 0 || findProgram('apt-get') === undefined) return;
  place.out(`installing ${wanted.join(', ')} ...\n`);
  const folder = '/etc/postgresql-common/createcluster.d';
  const script = `mkdir -p ${folder} && echo create_main_cluster=false > ${folder}/vipmesh-demo.conf
    apt-get update -q; apt-get install -y -q --no-install-recommends ${wanted.join(' ')}
    rm -f ${folder}/vipmesh-demo.conf`;
  const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' };
  const { stderr } = spawnSync('sh', ['-c', script], { encoding: 'utf8', env });
  const why = stderr.trim().split('\n').at(-1) ?? '';
  if (missing().length > 0) place.out(`apt could not install ${missing().join(', ')}: ${why}\n`);
}

function idOf(flag: '-u' | '-g'): number {
  return Number(execFileSync('id', [flag, 'postgres'], { encoding: 'utf8' }));
}

/** Debian keeps PostgreSQL's servers out of PATH. */
function serverFolders(): readonly string[] {
  const servers = '/usr/lib/postgresql';
  return existsSync(servers) ? readdirSync(servers).map((version) => join(servers, version, 'bin')) : [];
}
