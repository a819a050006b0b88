// The kernel, and what it lets an agent do. PURE.
import { type Finding, findingsOf } from './finding.ts';

export interface KernelFacts {
  /** As `uname -r` says it: `6.1.0-18-amd64`. */
  readonly release: string;
  /** The agent, running or yet to be started, is root's, and so makes overlay networks. */
  readonly isRoots: boolean;
  /** What was tried; undefined when this process is not root. */
  readonly trials: readonly Trial[] | undefined;
}

export interface Trial {
  readonly facility: string;
  readonly use: string;
  readonly error?: string;
}

/** sk_lookup programs, without which there are no VIPs on overlay networks. */
const OLDEST = { major: 5, minor: 9 };

export function checkKernel({ release, isRoots, trials }: KernelFacts): readonly Finding[] {
  const { ok, warn, bad } = findingsOf('kernel');
  const version = versionOf(release);
  const isOld =
    version === undefined ||
    version.major < OLDEST.major ||
    (version.major === OLDEST.major && version.minor < OLDEST.minor);
  const about = `Linux ${release}: overlay networks need ${OLDEST.major}.${OLDEST.minor}`;
  const advice = `install a kernel of ${OLDEST.major}.${OLDEST.minor} or later`;
  const first = !isOld
    ? ok(about)
    : isRoots
      ? bad(about, advice)
      : warn(about, `${advice}, or use local networks alone`);
  return [first, ...checkTrials({ isRoots, trials })];
}

function checkTrials({ isRoots, trials }: Omit<KernelFacts, 'release'>): readonly Finding[] {
  const { ok, warn, bad } = findingsOf('kernel');
  if (trials === undefined) {
    if (!isRoots)
      return [ok('an agent of an ordinary user has local networks only, so nothing more is asked of the kernel')];
    return [warn('what the kernel lets the agent make was not tried, for this is not root', 'run this with sudo')];
  }
  const failed = trials.filter(({ error }) => error !== undefined);
  if (failed.length === 0) return [ok(`${trials.map(({ facility }) => facility).join(', ')} can be made`)];
  return failed.map(({ facility, use, error = '' }) =>
    bad(`${facility} cannot be made, and ${use}: ${error}`, HELP[facility] ?? HELP.default ?? ''),
  );
}

const HELP: Readonly<Record<string, string>> = {
  'network namespaces': 'run it as root and not in a container, or give that container CAP_SYS_ADMIN',
  bridges: 'load the kernel module bridge: modprobe bridge',
  'veth pairs': 'load the kernel module veth: modprobe veth',
  VXLAN: 'load the kernel module vxlan: modprobe vxlan',
  nftables: 'load the kernel modules: modprobe nf_tables nft_masq nft_ct',
  sk_lookup:
    'needs a kernel of 5.9 with CONFIG_BPF_SYSCALL and CONFIG_INET, CAP_BPF, and before 5.11 `ulimit -l unlimited`',
  default: 'install a kernel that has it',
};

function versionOf(release: string): { readonly major: number; readonly minor: number } | undefined {
  const [, major, minor] = /^(\d+)\.(\d+)/.exec(release) ?? [];
  return major === undefined || minor === undefined ? undefined : { major: Number(major), minor: Number(minor) };
}

export interface PrivilegeFacts {
  /** Of the agent that runs; undefined: of this process, as an agent that it would start has it. */
  readonly pid: number | undefined;
  readonly uid: number;
  /** Effective capabilities as in /proc/PID/status; undefined when that cannot be read. */
  readonly capabilities: bigint | undefined;
  /** net.ipv4.ip_unprivileged_port_start. */
  readonly firstFreePort: number;
  /** Where the resolver listens, or would. */
  readonly dnsPort: number;
}

/** Numbers of linux/capability.h, and what each is for. */
const CAPABILITIES = {
  CAP_NET_BIND_SERVICE: { bit: 10, use: 'ports below 1024' },
  CAP_NET_ADMIN: { bit: 12, use: 'links, routes, nftables' },
  CAP_SYS_ADMIN: { bit: 21, use: 'network namespaces' },
  CAP_BPF: { bit: 39, use: 'sk_lookup' },
} as const;
type Capability = keyof typeof CAPABILITIES;

export function checkPrivileges({
  pid,
  uid,
  capabilities,
  firstFreePort,
  dnsPort,
}: PrivilegeFacts): readonly Finding[] {
  const { ok, warn, bad } = findingsOf('capabilities');
  const who = pid === undefined ? 'an agent started from here' : `the agent (pid ${pid})`;
  if (capabilities === undefined) return [warn(`it cannot be seen what ${who} may do`, 'run this with sudo')];
  const has = (name: Capability) => ((capabilities >> BigInt(CAPABILITIES[name].bit)) & 1n) === 1n;
  const isLow = dnsPort < firstFreePort;
  const lowPort = `port ${dnsPort} of the resolver is below ${firstFreePort}`;
  if (uid !== 0) {
    const own = ok(`${who} is an ordinary user's (uid ${uid}): local networks`);
    if (!isLow || has('CAP_NET_BIND_SERVICE')) return [own];
    return [own, bad(`${lowPort}, and the agent is not root's`, 'choose another one by --dns')];
  }
  const needed = (Object.keys(CAPABILITIES) as Capability[]).filter((name) => {
    // Before 5.8 there was no CAP_BPF, and CAP_SYS_ADMIN still stands for it.
    if (name === 'CAP_BPF') return !has('CAP_SYS_ADMIN');
    return name !== 'CAP_NET_BIND_SERVICE' || isLow;
  });
  const missing = needed.filter((name) => !has(name));
  if (missing.length === 0) return [ok(`${who} has the capabilities that it needs`)];
  const uses = missing.map((name) => `${name} (${CAPABILITIES[name].use})`).join(', ');
  return [
    bad(
      `${who} is root's and lacks ${uses}`,
      `grant it: AmbientCapabilities= of its unit, or --cap-add of its container`,
    ),
  ];
}
