// What a test needs from the machine. Root and Debian packages are taken care of where that is possible; otherwise the
// test is skipped by name, and where CI=true a skip is a failure, so that nothing looks passed that did not run.
import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';

/** The part of a tap test that is used here; the test function is async and returns at once when told false. */
interface Skippable {
  pass(message: string, extra: { readonly skip: string }): unknown;
  fail(message: string): unknown;
}

export const isRoot = process.getuid?.() === 0;

/** True when the process is root; otherwise says why the test did not run. */
export function needsRoot(t: Skippable, why: string): boolean {
  if (isRoot) return true;
  return refuse(t, `needs root: ${why}`);
}

/** True when all of these Debian packages' programs are there, installed now if need be. */
export function needsPackages(t: Skippable, packages: Readonly<Record<string, string>>): boolean {
  const missing = () => [
    ...new Set(
      Object.entries(packages).flatMap(([program, name]) => (findProgram(program) === undefined ? [name] : [])),
    ),
  ];
  if (missing().length === 0) return true;
  if (isRoot && findProgram('apt-get') !== undefined) install(missing());
  const still = missing();
  return still.length === 0 || refuse(t, `needs the Debian packages ${still.join(', ')}`);
}

/** The path of a program, also of those that Debian keeps out of PATH (PostgreSQL's servers, /usr/sbin). */
export function findProgram(program: string): string | undefined {
  const postgres = '/usr/lib/postgresql';
  const versions = existsSync(postgres) ? readdirSync(postgres).map((version) => join(postgres, version, 'bin')) : [];
  const folders = [...(process.env.PATH ?? '').split(':'), '/usr/sbin', '/sbin', ...versions];
  return folders.map((folder) => join(folder, program)).find((path) => existsSync(path));
}

function install(names: readonly string[]): void {
  const options = {
    stdio: 'ignore',
    env: { ...process.env, DEBIAN_FRONTEND: 'noninteractive' },
    timeout: 300_000,
  } as const;
  // Two test files may want to install at once: apt waits for the lock instead of failing.
  const lock = ['-o', 'DPkg::Lock::Timeout=240'];
  spawnSync('apt-get', [...lock, 'update', '-q'], options);
  try {
    execFileSync('apt-get', [...lock, 'install', '-y', '-q', '--no-install-recommends', ...names], options);
  } catch {
    // The caller looks at what is there, and says what is missing.
  }
}

function refuse(t: Skippable, why: string): false {
  if (process.env.CI === 'true') t.fail(`not run: ${why}`);
  else {
    process.stderr.write(`\nSKIPPED, NOT PASSED: ${process.argv[1] ?? ''}: ${why}\n`);
    t.pass(why, { skip: why });
  }
  return false;
}
