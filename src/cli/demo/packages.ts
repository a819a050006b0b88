// Debian packages, installed without starting what is in them: for the demo, and for what is tried and measured with them.
import { spawnSync } from 'node:child_process';
import { findProgram } from '../programs.ts';
import { databaseFolders } from './database.ts';
import type { Stage } from './stage.ts';

/** Program → Debian package. What is missing is installed; what could not be is said, and is missing still. */
export function install(stage: Stage, packages: Readonly<Record<string, string>>): void {
  const missing = () =>
    Object.entries(packages).flatMap(([program, name]) => (findProgram(program, databaseFolders()) ? [] : [name]));
  const wanted = missing();
  if (wanted.length === 0 || findProgram('apt-get') === undefined) return;
  stage.out(`Installing ${wanted.join(', ')} ...\n`);
  const why = installPackages(wanted).split('\n').at(-1) ?? '';
  if (missing().length > 0) stage.out(`apt could not install ${missing().join(', ')}: ${why}\n`);
}

/** Installs them, for which this must be root. What apt-get complained of; the caller looks at what is there. */
export function installPackages(names: readonly string[]): string {
  const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' };
  return spawnSync('sh', ['-c', scriptFor(names)], { encoding: 'utf8', env }).stderr.trim();
}

/**
 * PostgreSQL's package makes a database unless it is told not to, and every service is started unless /usr/sbin/policy-rc.d forbids
 * it (Debian's interface for that, which administrators and images may have in use: then it stays as it is). Whoever installs etcd here
 * starts one of their own, so Debian's is not for the next start of the machine either. A mirror that fails is asked again, and
 * somebody else's apt-get waited for.
 */
function scriptFor(packages: readonly string[]): string {
  return `
    clusters=/etc/postgresql-common/createcluster.d policy=/usr/sbin/policy-rc.d
    options='-q -o Acquire::Retries=3 -o DPkg::Lock::Timeout=240'
    made=
    mkdir -p $clusters && echo create_main_cluster=false > $clusters/vipmesh.conf
    if [ ! -e $policy ]; then printf '#!/bin/sh\\nexit 101\\n' > $policy && chmod 755 $policy && made=$policy; fi
    trap 'rm -f $clusters/vipmesh.conf $made' EXIT
    trap 'exit 130' INT TERM HUP
    apt-get $options update
    apt-get $options install -y --no-install-recommends ${packages.join(' ')}
    ${packages.includes('etcd-server') ? 'update-rc.d etcd disable || true' : ''}`;
}
