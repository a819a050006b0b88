// The peers, from Debian's packages. Without one of them there is nothing to compare with, so that is a failure.
import { execFileSync, spawnSync } from 'node:child_process';
import { chmodSync, existsSync, rmSync, writeFileSync } from 'node:fs';
import { BenchError } from './processes.ts';

/** Package → a file that it brings, and how its program tells its version. */
const PACKAGES = {
  wrk: { file: '/usr/bin/wrk', version: ['wrk', '-v'] },
  haproxy: { file: '/usr/sbin/haproxy', version: ['haproxy', '-v'] },
  'nginx-light': { file: '/usr/sbin/nginx', version: ['nginx', '-v'] },
  'libnginx-mod-stream': { file: '/usr/lib/nginx/modules/ngx_stream_module.so', version: undefined },
  'dnsmasq-base': { file: '/usr/sbin/dnsmasq', version: ['dnsmasq', '--version'] },
  unbound: { file: '/usr/sbin/unbound', version: ['unbound', '-V'] },
  dnsperf: { file: '/usr/bin/dnsperf', version: ['dnsperf', '-h'] },
  'etcd-server': { file: '/usr/bin/etcd', version: ['etcd', '--version'] },
} as const;

export type Peer = keyof typeof PACKAGES;

/** invoke-rc.d asks this program whether a freshly installed package may start its service (Debian policy, 9.3.3). */
const POLICY = '/usr/sbin/policy-rc.d';

/** Installs what is missing. Throws BenchError when that cannot be done. */
export function installPeers(peers: readonly Peer[], say: (text: string) => void): void {
  const missing = peers.filter((name) => !existsSync(PACKAGES[name].file));
  if (missing.length === 0) return;
  if (process.getuid?.() !== 0) {
    throw new BenchError(
      `the bench needs ${missing.join(', ')}: run it as root, or install them (apt-get install ${missing.join(' ')})`,
    );
  }
  say(`installing ${missing.join(', ')}\n`);
  withoutServices(() => {
    apt(['update', '-q']);
    apt(['install', '-qy', '--no-install-recommends', ...missing]);
  });
  const absent = peers.filter((name) => !existsSync(PACKAGES[name].file));
  if (absent.length > 0) throw new BenchError(`apt-get brought no ${absent.join(', ')}`);
}

/** At once, for a process that is about to lose its way to the packages; what the result throws is what stood against it. */
export function installNow(peers: readonly Peer[]): () => void {
  try {
    installPeers(peers, (text) => process.stdout.write(text));
    return () => {};
  } catch (error) {
    return () => {
      throw error;
    };
  }
}

/** `haproxy 2.6.12`, and so on. */
export function peerVersions(peers: readonly Peer[]): readonly string[] {
  return peers.flatMap((name) => {
    const { version } = PACKAGES[name];
    if (version === undefined) return [];
    const [command, ...args] = version;
    const { stdout, stderr } = spawnSync(command, args, { encoding: 'utf8' });
    const number = /\d+\.\d+(\.\d+)*/.exec(`${stdout}${stderr}`)?.[0];
    return [`${name.replace(/-light|-base|-server/, '')} ${number ?? 'of unknown version'}`];
  });
}

function apt(args: readonly string[]): void {
  try {
    execFileSync('apt-get', args, { stdio: 'pipe', env: { ...process.env, DEBIAN_FRONTEND: 'noninteractive' } });
  } catch (error) {
    throw new BenchError(`apt-get ${args.join(' ')} failed; see its output above, or install the packages by hand`, {
      cause: error,
    });
  }
}

/** None of the packages is to occupy port 53 or 80 of this machine just because it was measured here. */
function withoutServices(install: () => void): void {
  const own = !existsSync(POLICY);
  if (own) {
    writeFileSync(POLICY, '#!/bin/sh\nexit 101\n');
    chmodSync(POLICY, 0o755);
  }
  try {
    install();
  } finally {
    if (own) rmSync(POLICY);
  }
}
