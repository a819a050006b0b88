// What a test needs from the machine. Debian's packages were installed before the first test where that is possible
// (install-packages.ts); what is missing all the same makes a test skip by name, and where CI=true a skip is a failure, so that
// nothing looks passed that did not run.
import { databaseFolders } from '../../src/cli/demo/database.ts';
import { findProgram as find } from '../../src/cli/programs.ts';

/** The part of a tap test that is used here; the test function is async and returns at once when told false. */
interface Skippable {
  pass(message: string, extra: { readonly skip: string }): unknown;
  fail(message: string): unknown;
}

/** Every program that tests run, and the Debian package that brings it. */
const PACKAGES = {
  busybox: 'busybox-static',
  curl: 'curl',
  dig: 'bind9-dnsutils',
  docker: 'docker.io',
  dockerd: 'docker.io',
  etcd: 'etcd-server',
  initdb: 'postgresql',
  ip: 'iproute2',
  iptables: 'iptables',
  kdig: 'knot-dnsutils',
  'ldns-testns': 'ldnsutils',
  nft: 'nftables',
  openssl: 'openssl',
  postgres: 'postgresql',
  prlimit: 'util-linux',
  psql: 'postgresql',
  setpriv: 'util-linux',
} as const;

export type Program = keyof typeof PACKAGES;

export const isRoot = process.getuid?.() === 0;

/** True when the process is root; otherwise says why the test did not run. */
export function needsRoot(t: Skippable, why: string): boolean {
  if (isRoot) return true;
  return refuse(t, `needs root: ${why}`);
}

/** True when all of these are there; otherwise says why the test did not run. */
export function needsPrograms(t: Skippable, ...programs: readonly Program[]): boolean {
  const missing = missingPackages(programs);
  return missing.length === 0 || refuse(t, `needs the Debian packages ${missing.join(', ')}`);
}

/** The packages without which some of these programs are not there. */
export function missingPackages(programs: readonly Program[] = Object.keys(PACKAGES) as Program[]): readonly string[] {
  return [...new Set(programs.filter((one) => findProgram(one) === undefined).map((one) => PACKAGES[one]))];
}

/** The path of a program, also of those that Debian keeps out of PATH (PostgreSQL's servers, /usr/sbin). */
export function findProgram(program: string): string | undefined {
  return find(program, databaseFolders());
}

function refuse(t: Skippable, why: string): false {
  if (process.env.CI === 'true') t.fail(`not run: ${why}`);
  else {
    process.stderr.write(`\nSKIPPED, NOT PASSED: ${process.argv[1] ?? ''}: ${why}\n`);
    t.pass(why, { skip: why });
  }
  return false;
}
