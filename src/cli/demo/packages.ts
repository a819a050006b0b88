// Debian packages for the demo, installed without starting what is in them.
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
  const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' };
  const { stderr } = spawnSync('sh', ['-c', scriptFor(wanted)], { encoding: 'utf8', env });
  const why = stderr.trim().split('\n').at(-1) ?? '';
  if (missing().length > 0) stage.out(`apt could not install ${missing().join(', ')}: ${why}\n`);
}

/**
 * PostgreSQL's package makes a database unless it is told not to, and every service is started unless /usr/sbin/policy-rc.d forbids
 * it (Debian's interface for that, which administrators and images may have in use: then it stays as it is). The demo starts an etcd
 * of its own, so Debian's is not for the next start of the machine either.
 */
function scriptFor(packages: readonly string[]): string {
  return `
    clusters=/etc/postgresql-common/createcluster.d policy=/usr/sbin/policy-rc.d
    made=
    mkdir -p $clusters && echo create_main_cluster=false > $clusters/vipmesh-demo.conf
    if [ ! -e $policy ]; then printf '#!/bin/sh\\nexit 101\\n' > $policy && chmod 755 $policy && made=$policy; fi
    trap 'rm -f $clusters/vipmesh-demo.conf $made' EXIT
    trap 'exit 130' INT TERM HUP
    apt-get update -q
    apt-get install -y -q --no-install-recommends ${packages.join(' ')}
    ${packages.includes('etcd-server') ? 'update-rc.d etcd disable || true' : ''}`;
}
