// Which nftables tables, chains and rules there are, whoever made them: asked for, never changed.
// Numbers: linux/netfilter/nf_tables.h, nfnetlink.h, linux/netfilter.h.
import { FLAG, type Request, readAttributes, readText } from '../netlink/message.ts';
import { NetlinkSocket } from '../netlink/socket.ts';
import { OWN_NETNS } from '../native/netns.ts';

const SUBSYSTEM = 10 << 8;
const GET = { tables: 1, chains: 4, rules: 7 } as const;
const TABLE_NAME = 1;
const CHAIN = { table: 1, name: 3, hook: 4, policy: 5 } as const;
const HOOK_NUMBER = 1;
const RULE_TABLE = 1;
const HOOK_FORWARD = 2;
const POLICY_DROP = 0;
const FAMILY = { inet: 1, ip: 2 } as const;
/** struct nfgenmsg: family, version, resource. */
const HEADER_BYTES = 4;

/** A chain that drops what no rule of its own accepts, of packets that the node forwards. */
export interface DroppingChain {
  readonly family: 'ip' | 'inet';
  readonly table: string;
  readonly chain: string;
  /** A rule of that table names a link of an egress bridge, so somebody has thought of them. */
  readonly knowsEgress: boolean;
}

/** Names of the tables of the family `inet` in this process's network namespace. Rejects with KernelError. */
export async function listTables(): Promise<readonly string[]> {
  return withSocket(async (socket) =>
    (await socket.dump(dump(GET.tables), purpose('tables'))).flatMap(({ body }) => {
      if (body[0] !== FAMILY.inet) return [];
      return readText(readAttributes(body, HEADER_BYTES).get(TABLE_NAME)) ?? [];
    }),
  );
}

/** Those that IPv4 packets pass. `link`: what the names of egress links begin with. Rejects with KernelError. */
export async function listDroppingChains(link: string): Promise<readonly DroppingChain[]> {
  return withSocket(async (socket) => {
    const chains = (await socket.dump(dump(GET.chains), purpose('chains'))).flatMap(({ body }) => readDropping(body));
    if (chains.length === 0) return [];
    const rules = await socket.dump(dump(GET.rules), purpose('rules'));
    const knowing = rules.filter(({ body }) => body.includes(link)).map(({ body }) => tableOf(body));
    return chains.map((one) => ({ ...one, knowsEgress: knowing.includes(`${one.family} ${one.table}`) }));
  });
}

function readDropping(body: Buffer): readonly Omit<DroppingChain, 'knowsEgress'>[] {
  const attributes = readAttributes(body, HEADER_BYTES);
  const hook = readAttributes(attributes.get(CHAIN.hook) ?? Buffer.alloc(0)).get(HOOK_NUMBER);
  const policy = attributes.get(CHAIN.policy);
  const table = readText(attributes.get(CHAIN.table));
  const chain = readText(attributes.get(CHAIN.name));
  const family = familyName(body);
  if (hook?.readUInt32BE(0) !== HOOK_FORWARD || policy?.readUInt32BE(0) !== POLICY_DROP) return [];
  return family === undefined || table === undefined || chain === undefined ? [] : [{ family, table, chain }];
}

function tableOf(body: Buffer): string {
  return `${familyName(body)} ${readText(readAttributes(body, HEADER_BYTES).get(RULE_TABLE))}`;
}

function familyName(body: Buffer): 'ip' | 'inet' | undefined {
  if (body[0] === FAMILY.inet) return 'inet';
  return body[0] === FAMILY.ip ? 'ip' : undefined;
}

function dump(what: number): Request {
  return { type: SUBSYSTEM | what, flags: FLAG.dump, body: Buffer.alloc(HEADER_BYTES) };
}

function purpose(what: string) {
  return { operation: 'list', object: `nftables ${what} in the node's namespace` };
}

async function withSocket<T>(work: (socket: NetlinkSocket) => Promise<T>): Promise<T> {
  const socket = new NetlinkSocket(OWN_NETNS, 'netfilter');
  try {
    return await work(socket);
  } finally {
    socket.close();
  }
}
