// Whom the node and its containers ask for names. PURE.
import { count, type Finding, findingsOf, some } from './finding.ts';

export interface ResolverFacts {
  /** Where the agent's own resolver listens, or would: `127.0.0.11:53`. */
  readonly own: readonly string[];
  /** Whom it forwards to, or would: `192.0.2.53:53`. */
  readonly upstreams: readonly Upstream[];
  /** Of /run/systemd/resolve/resolv.conf: whom systemd-resolved asks; empty when there is none. */
  readonly resolved: readonly string[];
  /** This node's /etc/resolv.conf; undefined when it cannot be read. */
  readonly resolvConf: string | undefined;
}

export interface Upstream {
  readonly address: string;
  /** Undefined: it has answered. */
  readonly error: string | undefined;
}

const RESOLVED = '127.0.0.53:53';
/** Where a container finds the embedded resolver. */
const EMBEDDED = '127.0.0.11';

export function checkUpstreams({ own, upstreams, resolved, resolvConf }: ResolverFacts): readonly Finding[] {
  const { ok, warn, bad } = findingsOf('resolv.conf');
  const loops = upstreams.filter(({ address }) => own.includes(address));
  if (loops.length > 0)
    return [bad(`the agent forwards to ${loops[0]?.address}, which is itself`, 'remove that --upstream')];
  if (upstreams.some(({ address }) => address === RESOLVED) && resolved.some((server) => own.includes(`${server}:53`)))
    return [
      bad(
        `the agent forwards to systemd-resolved (${RESOLVED}), and that asks the agent again`,
        'take 127.0.0.11 out of DNS= in /etc/systemd/resolved.conf, or give the agent an --upstream',
      ),
    ];
  if (upstreams.length === 0) {
    const why =
      resolvConf === undefined ? '/etc/resolv.conf cannot be read' : '/etc/resolv.conf names no server but the agent';
    return [
      warn(`${why}: names from outside the mesh fail`, 'put a DNS server into it, or give the agent an --upstream'),
    ];
  }
  const silent = upstreams.filter(({ error }) => error !== undefined);
  const list = silent.map(({ address, error }) => `${address} (${error})`);
  const advice = 'look at the way there, or put another one into /etc/resolv.conf or --upstream';
  if (silent.length === upstreams.length)
    return [bad(`no upstream answers, so names from outside the mesh fail: ${some(list)}`, advice)];
  const answering = ok(
    `upstreams that answer: ${some(upstreams.filter((one) => !silent.includes(one)).map(({ address }) => address))}`,
  );
  return silent.length === 0 ? [answering] : [answering, warn(`upstreams that do not answer: ${some(list)}`, advice)];
}

export interface RouteFacts {
  /** Names below it are asked of these servers alone. */
  readonly suffix: string;
  readonly upstreams: readonly Upstream[];
}

/** `own`: where the agent's own resolver listens. */
export function checkRoutes(routes: readonly RouteFacts[], own: readonly string[]): readonly Finding[] {
  const { ok, warn, bad } = findingsOf('dns-route');
  return routes.flatMap(({ suffix, upstreams }): readonly Finding[] => {
    const flag = `--dns-route ${suffix}=`;
    if (upstreams.some(({ address }) => own.includes(address)))
      return [bad(`names below ${suffix} are asked of the agent itself`, `take its own address out of ${flag}`)];
    const silent = upstreams.filter(({ error }) => error !== undefined);
    if (silent.length === 0) return [ok(`servers of ${suffix} that answer: ${some(upstreams.map(placeOf))}`)];
    const list = some(silent.map(({ address, error }) => `${address} (${error})`));
    const advice = `look at the way there, or put another one into ${flag}`;
    // Nobody else is asked for them.
    if (silent.length === upstreams.length)
      return [bad(`no server of ${suffix} answers, so names below it fail: ${list}`, advice)];
    return [warn(`servers of ${suffix} that do not answer: ${list}`, advice)];
  });
}

function placeOf({ address }: Upstream): string {
  return address;
}

export interface ContainerResolver {
  readonly task: string;
  /** Its /etc/resolv.conf; undefined when it cannot be read. */
  readonly resolvConf: string | undefined;
}

/** `containers` undefined: only root can see their files. */
export function checkContainerResolvers(containers: readonly ContainerResolver[] | undefined): readonly Finding[] {
  const { ok, warn, bad } = findingsOf('resolv.conf');
  if (containers === undefined) return [warn("containers' /etc/resolv.conf were not looked at", 'run this with sudo')];
  const known = containers.flatMap(({ task, resolvConf }) => (resolvConf === undefined ? [] : [{ task, resolvConf }]));
  const wrong = known.filter(({ resolvConf }) => nameservers(resolvConf)[0] !== EMBEDDED);
  const findings: Finding[] = [];
  if (wrong.length > 0)
    findings.push(
      bad(
        `${some(wrong.map(({ task }) => task))} do${wrong.length === 1 ? 'es' : ''} not ask ${EMBEDDED} first, and so ${wrong.length === 1 ? 'does' : 'do'} not find names of the mesh`,
        `start it with ${EMBEDDED} as its DNS server: docker run --dns ${EMBEDDED}`,
      ),
    );
  const right = known.length - wrong.length;
  if (right > 0) findings.push(ok(`${count(right, 'container')} ask${right === 1 ? 's' : ''} ${EMBEDDED} first`));
  return findings;
}

/** The servers of a resolv.conf(5), in order. */
export function nameservers(resolvConf: string): readonly string[] {
  return resolvConf.split('\n').flatMap((line) => /^\s*nameserver\s+(\S+)/.exec(line)?.[1] ?? []);
}
