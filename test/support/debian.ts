// Debian's packages, for tests and benches. None of them is to occupy a port of this machine, or to fill its disk, just because
// something was tried here.
import { spawnSync } from 'node:child_process';
import { chmodSync, existsSync, mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';

/** invoke-rc.d asks this program whether a freshly installed package may start its service (Debian policy, 9.3.3). */
const MAY_START = '/usr/sbin/policy-rc.d';
/** Without this, PostgreSQL's package makes a database of its own. */
const NO_DATABASE = '/etc/postgresql-common/createcluster.d/vipmesh.conf';
/** A mirror that fails once is asked again. Somebody else's apt is waited for. */
const APT = ['-q', '-o', 'Acquire::Retries=3', '-o', 'DPkg::Lock::Timeout=240'];
const TIMEOUT_MS = 600_000;

/** Installs them, for which this must be root. Throws what apt-get said when it cannot be done. */
export function installPackages(names: readonly string[]): void {
  withFile(MAY_START, '#!/bin/sh\nexit 101\n', () =>
    withFile(NO_DATABASE, 'create_main_cluster = false\n', () => {
      apt('update');
      apt('install', '-y', '--no-install-recommends', ...names);
    }),
  );
}

function apt(command: string, ...words: readonly string[]): void {
  const { status, stdout, stderr } = spawnSync('apt-get', [...APT, command, ...words], {
    encoding: 'utf8',
    env: { ...process.env, DEBIAN_FRONTEND: 'noninteractive' },
    timeout: TIMEOUT_MS,
  });
  if (status === 0) return;
  const said = `${stdout ?? ''}${stderr ?? ''}`.trim().split('\n').slice(-20).join('\n');
  throw new Error(`apt-get ${[command, ...words].join(' ')} failed\n${said}`);
}

/** With this file in its place, unless there is one already. */
function withFile(path: string, content: string, action: () => void): void {
  const own = !existsSync(path);
  if (own) {
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(path, content);
    chmodSync(path, 0o755);
  }
  try {
    action();
  } finally {
    if (own) rmSync(path);
  }
}
