// The peers, from Debian's packages. Without one of them there is nothing to compare with, so that is a failure.
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { installPackages } from '../src/cli/demo/packages.ts';
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
  'docker.io': { file: '/usr/sbin/dockerd', version: undefined },
  iptables: { file: '/usr/sbin/iptables', version: undefined },
  'busybox-static': { file: '/bin/busybox', version: undefined },
  iproute2: { file: '/bin/ip', version: undefined },
  nftables: { file: '/usr/sbin/nft', version: undefined },
} as const;

export type Peer = keyof typeof PACKAGES;

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
  const complaints = installPackages(missing);
  const absent = peers.filter((name) => !existsSync(PACKAGES[name].file));
  if (absent.length > 0)
    throw new BenchError(`apt-get brought no ${absent.join(', ')}; install them by hand. It said:\n${complaints}`);
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
