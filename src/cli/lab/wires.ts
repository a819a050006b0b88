// Namespaces and links of a lab, by iproute2: a bridge in a namespace of its own, a pair of links from it to each node.
import { execFile } from 'node:child_process';
import { existsSync, readdirSync } from 'node:fs';
import { setTimeout as pause } from 'node:timers/promises';
import { z } from 'zod';
import { parseSubnet, prefixLength, type Subnet } from '../../model/address.ts';
import { findProgram } from '../programs.ts';
import { CliError } from '../shell.ts';
import { BRIDGE, machineLink, NODE_LINK, switchNamespace } from './plan.ts';
import type { Lab, LabNode } from './record.ts';

const NAMESPACES = '/run/netns';
/** The kernel takes a namespace, and the links in it, apart in its own time. */
const GONE_PATIENCE_MS = 20_000;
const POLL_MS = 20;

/** Names of network namespaces of this machine. */
export function namespaceNames(): readonly string[] {
  try {
    return readdirSync(NAMESPACES);
  } catch {
    return [];
  }
}

/** IPv4 subnets that lead somewhere already, in whatever table. Rejects with CliError. */
export async function routedSubnets(): Promise<readonly Subnet[]> {
  const routes = z
    .array(z.object({ dst: z.string() }))
    .parse(JSON.parse(await ip(['-4', '-json', 'route', 'show', 'table', 'all'])));
  return routes.flatMap(({ dst }) => parseSubnet(dst.includes('/') ? dst : `${dst}/32`) ?? []);
}

/** The bridge, and the machine's link to it. Whatever is left of a former attempt is made anew. */
export async function wireMachine(lab: Lab): Promise<void> {
  const [machine] = lab.nodes;
  if (machine === undefined) return;
  const bridge = switchNamespace(lab.name);
  await removeMachineLink(lab.name);
  await makeNamespace(bridge);
  await ip(['-n', bridge, '-batch', '-'], [`link add ${BRIDGE} type bridge`, `link set ${BRIDGE} up`]);
  const link = machineLink(lab.name);
  await ip(['link', 'add', link, 'type', 'veth', 'peer', 'name', machine.name, 'netns', bridge]);
  await ip(['-batch', '-'], [`address add ${withBits(machine, lab)} dev ${link}`, `link set ${link} up`]);
  await plugIn(lab, machine);
}

/** A node's namespace with its link to the bridge. */
export async function wireNode(lab: Lab, node: LabNode): Promise<void> {
  if (node.namespace === undefined) return;
  await makeNamespace(node.namespace);
  const ends = ['netns', node.namespace, 'type', 'veth', 'peer', 'name', node.name, 'netns', switchNamespace(lab.name)];
  await ip(['link', 'add', NODE_LINK, ...ends]);
  await ip(
    ['-n', node.namespace, '-batch', '-'],
    [`address add ${withBits(node, lab)} dev ${NODE_LINK}`, 'link set lo up', `link set ${NODE_LINK} up`],
  );
  await plugIn(lab, node);
}

/** Takes the cable out, or puts it in again. */
export async function setPort(lab: Lab, node: LabNode, state: 'up' | 'down'): Promise<void> {
  await ip(['-n', switchNamespace(lab.name), 'link', 'set', node.name, state]);
}

/** Nothing happens when it is not there. */
export async function removeNamespace(name: string): Promise<void> {
  if (existsSync(`${NAMESPACES}/${name}`)) await ip(['netns', 'delete', name]);
}

/** Resolves when it is gone, and with it the subnet's route. */
export async function removeMachineLink(lab: string): Promise<void> {
  const link = machineLink(lab);
  const deadline = performance.now() + GONE_PATIENCE_MS;
  while (await hasLink(link)) {
    if (performance.now() > deadline) throw new CliError('FAILED', `the link ${link} does not go away`);
    // It may go by itself, when its other end does, between the question and this.
    await ip(['link', 'delete', link]).catch(() => pause(POLL_MS));
  }
}

async function makeNamespace(name: string): Promise<void> {
  await removeNamespace(name);
  await ip(['netns', 'add', name]);
}

async function plugIn(lab: Lab, node: LabNode): Promise<void> {
  await ip(['-n', switchNamespace(lab.name), 'link', 'set', node.name, 'master', BRIDGE, 'up']);
}

async function hasLink(name: string): Promise<boolean> {
  return ip(['link', 'show', name]).then(
    () => true,
    () => false,
  );
}

function withBits(node: LabNode, lab: Lab): string {
  return `${node.address}/${prefixLength(lab.subnet as Subnet)}`;
}

/** What `ip` prints. Rejects with CliError. `lines` are commands for `-batch -`. */
function ip(words: readonly string[], lines: readonly string[] = []): Promise<string> {
  return new Promise((resolve, reject) => {
    const child = execFile(findProgram('ip') ?? 'ip', [...words], (error, stdout, stderr) => {
      if (error === null) resolve(stdout);
      else reject(new CliError('FAILED', `ip ${words.join(' ')}: ${stderr.trim() || error.message}`, { cause: error }));
    });
    // It may have ended before it read anything, and says why.
    child.stdin?.once('error', () => undefined);
    child.stdin?.end(lines.map((line) => `${line}\n`).join(''));
  });
}
