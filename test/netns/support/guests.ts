// Containers that something else than vipmesh starts: a network namespace made by util-linux, and the tests' own server in it.
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import { closeNetns, openNetns } from '../../../src/native/netns.ts';
import type { Observed } from '../../../src/netlink/kernel.ts';
import { LinuxKernel } from '../../../src/netlink/linux-kernel.ts';

const SERVER = fileURLToPath(new URL('../fixtures/server.js', import.meta.url));

/** A test that ran out of time is killed and tears nothing down: what it started goes with it. */
const WITH_PARENT = ['setpriv', '--pdeathsig', 'KILL'];

export interface Guest {
  /** What its server calls itself. */
  readonly name: string;
  readonly pid: number;
  /** Its network namespace; open until the test ends. */
  readonly netns: number;
  readonly process: ChildProcess;
  end(): Promise<void>;
}

/** A server in a new namespace of its own, or in the one at a path. Resolves when it listens; ends with the test. */
export async function startGuest(name: string, path?: string): Promise<Guest> {
  const enter = path === undefined ? ['unshare', '--net', '--'] : ['nsenter', `--net=${path}`, '--'];
  const [program = '', ...words] = [...WITH_PARENT, ...enter, process.execPath, SERVER];
  const child = spawn(program, words, {
    stdio: ['ignore', 'pipe', 'inherit'],
    env: { ...process.env, VIPMESH_TASK: name },
  });
  const ended = once(child, 'exit');
  const end = async () => {
    child.kill('SIGKILL');
    await ended;
  };
  t.teardown(end);
  const early = ended.then(([code]) => {
    throw new Error(`the container ${name} ended with ${code}`);
  });
  early.catch(() => undefined);
  // setpriv and the two others become what they start.
  await Promise.race([once(createInterface({ input: child.stdout }), 'line'), early]);
  const pid = child.pid ?? 0;
  const netns = openNetns(`/proc/${pid}/ns/net`);
  t.teardown(() => closeNetns(netns));
  return { name, pid, netns, process: child, end };
}

/** What is configured in a container, as lines: `vm0 up 10.64.0.5/24`, `default via 192.0.2.1 eth0`. */
export async function configuration(path: string): Promise<readonly string[]> {
  const kernel = new LinuxKernel();
  try {
    const namespace = await kernel.openNamespace(path);
    if (namespace === undefined) return ['gone'];
    const { links, addresses }: Observed = await namespace.observe();
    const routed = await namespace.routed();
    const own = (link: string) => addresses.filter((one) => one.link === link && !one.address.startsWith('fe80'));
    return [
      ...links.map(({ name, up }) =>
        [name, up ? 'up' : 'down', ...own(name).map((one) => `${one.address}/${one.prefixLength}`)].join(' '),
      ),
      ...routed.flatMap(({ destination, link }) => (destination.endsWith('/0') ? [`default over ${link}`] : [])),
    ];
  } finally {
    kernel.close();
  }
}
