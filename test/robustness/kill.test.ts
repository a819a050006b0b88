// kill -9 of the agent at random moments during 1,000 commits through the API: after each restart, everything that was
// acknowledged is there, and nothing is half there.
import t, { type Test } from 'tap';
import { type Random, seededRandom } from '../../src/runtime/random.ts';
import { type Agent, type AgentFolder, answers, makeFolder, startAgent } from '../support/agent.ts';
import { ask } from './support/api.ts';

const SEED = 20_260_831;
const COMMITS = 1000;
/** Acknowledged commits from one kill to the next. */
const LEAST_BETWEEN = 30;
const MOST_BETWEEN = 170;
/** Clients that write at once, each its own services and its own stack. */
const WRITERS = 4;
const SERVICES_EACH = 5;
const STACK_SERVICES = 3;
const NETWORK = 'mesh';

t.comment(`seed ${SEED}`);

/** The generation that an object is of; 0: it is not there. */
type Generation = number;

/** What may be true of an object: what was acknowledged last, and what was asked for since. */
interface Expected {
  acknowledged: Generation;
  asked: Generation;
  /** Addresses of endpoints that were added by hand, acknowledged. */
  readonly endpoints: Set<string>;
}

/** A service, or all services of a stack. */
type Objects = Map<string, Expected>;

t.test(`${COMMITS} commits and kill -9`, async (t) => {
  const random = seededRandom(SEED);
  const folder = await makeFolder();
  const objects: Objects = new Map();
  for (let writer = 0; writer < WRITERS; writer++) {
    objects.set(stackOf(writer), newExpected());
    for (let i = 0; i < SERVICES_EACH; i++) objects.set(serviceOf(writer, i), newExpected());
  }
  let commits = 0;
  let kills = 0;
  for (; commits < COMMITS; kills++) {
    const agent = await start(folder);
    if (kills === 0) await makeNetwork(agent);
    const seen = await verify(t, agent, objects, `after ${commits} commits and ${kills} kills`);
    if (kills > 0 && seen.name !== undefined) t.same(answers(await agent.dig(seen.name)), [seen.vip], 'names too');
    commits += await writeUntilKilled(agent, objects, random);
  }
  const last = await start(folder);
  await verify(t, last, objects, `in the end, after ${commits} commits and ${kills} kills`);
  t.equal(await last.stop(), 0);
  t.ok(kills >= COMMITS / MOST_BETWEEN, `${kills} kills`);
});

function start(folder: AgentFolder): Promise<Agent> {
  return startAgent({ folder, args: ['--workers', '1'] });
}

async function makeNetwork(agent: Agent): Promise<void> {
  const config = { IPAM: { Config: [{ Subnet: '127.124.0.0/16' }] } };
  await ask(agent.folder.socket, 'POST', '/networks/create', { Name: NETWORK, Driver: 'local', ...config });
}

/** Resolves with how many commits were acknowledged before the agent was gone. */
async function writeUntilKilled(agent: Agent, objects: Objects, random: Random): Promise<number> {
  const draw = (below: number) => Math.floor(random.unit() * below);
  const limit = LEAST_BETWEEN + draw(MOST_BETWEEN - LEAST_BETWEEN);
  // Not only when something was just acknowledged, but at any moment on the way to the next one.
  const moment = draw(30);
  let acknowledged = 0;
  let killed: Promise<unknown> | undefined;
  const kill = async () => {
    for (let turn = 0; turn < moment; turn++) await new Promise((resolve) => setImmediate(resolve));
    await agent.stop('SIGKILL');
  };
  const write = async (writer: number) => {
    for (;;) {
      const done = await writeOnce(agent, objects, writer, draw);
      if (done === 'gone') return;
      if (done === 'acknowledged') acknowledged++;
      if (acknowledged >= limit) killed ??= kill();
    }
  };
  await Promise.all(Array.from({ length: WRITERS }, (_, writer) => write(writer)));
  await killed;
  return acknowledged;
}

type Done = 'acknowledged' | 'refused' | 'gone';

async function writeOnce(agent: Agent, objects: Objects, writer: number, draw: (n: number) => number): Promise<Done> {
  const { socket } = agent.folder;
  const isStack = draw(4) === 0;
  const name = isStack ? stackOf(writer) : serviceOf(writer, draw(SERVICES_EACH));
  const expected = objects.get(name) ?? newExpected();
  const { acknowledged } = expected;
  if (acknowledged > 0 && draw(4) === 0) {
    const path = isStack ? `/vipmesh/stacks/${name}` : `/services/${name}`;
    return settle(expected, 0, await told(expected, 0, ask(socket, 'DELETE', path)));
  }
  const next = Math.max(acknowledged, expected.asked) + 1;
  if (isStack) {
    const body = { File: 'compose.yaml', Text: stackText(next), Prune: true };
    return settle(expected, next, await told(expected, next, ask(socket, 'POST', `/vipmesh/stacks/${name}`, body)));
  }
  if (acknowledged === 0)
    return settle(
      expected,
      next,
      await told(expected, next, ask(socket, 'POST', '/services/create', spec(name, next))),
    );
  if (draw(3) === 0) {
    const address = `127.125.${draw(250)}.${draw(250)}`;
    const answer = await ask(socket, 'POST', '/vipmesh/endpoints', { Service: name, Endpoint: address });
    if (answer?.status === 201) expected.endpoints.add(address);
    return answer === undefined ? 'gone' : answer.status === 201 ? 'acknowledged' : 'refused';
  }
  const found = await ask(socket, 'GET', `/services/${name}`);
  if (found === undefined) return 'gone';
  const path = `/services/${name}/update?version=${found.json.Version.Index}`;
  return settle(expected, next, await told(expected, next, ask(socket, 'POST', path, spec(name, next))));
}

function told<T>(expected: Expected, next: Generation, request: Promise<T>): Promise<T> {
  expected.asked = next;
  return request;
}

function settle(expected: Expected, next: Generation, answer: Awaited<ReturnType<typeof ask>>): Done {
  if (answer === undefined) return 'gone';
  if (answer.status >= 400) throw new Error(`${answer.status}: ${JSON.stringify(answer.json)}`);
  expected.acknowledged = next;
  if (next === 0) expected.endpoints.clear();
  return 'acknowledged';
}

/** Compares what the agent has with what may be, and takes it for what was acknowledged. Resolves with any service that is there. */
async function verify(
  t: Test,
  agent: Agent,
  objects: Objects,
  when: string,
): Promise<{ readonly name?: string; readonly vip?: string }> {
  const { socket } = agent.folder;
  const services = ((await ask(socket, 'GET', '/services'))?.json ?? []) as readonly FoundService[];
  const endpoints = ((await ask(socket, 'GET', '/vipmesh/endpoints'))?.json ?? []) as readonly FoundEndpoint[];
  const wrong: string[] = [];
  for (const [name, expected] of objects) {
    const found = services.filter(({ Spec }) => Spec.Name === name || Spec.Name.startsWith(`${name}_`));
    const generations = [...new Set(found.map(({ Spec }) => Number(Spec.Labels.generation)))];
    const [generation = 0] = generations;
    if (generations.length > 1) wrong.push(`${name} is of the generations ${generations}`);
    if (name.startsWith('stack') && found.length % STACK_SERVICES !== 0)
      wrong.push(`${name} has ${found.length} services`);
    if (generation !== expected.acknowledged && generation !== expected.asked)
      wrong.push(
        `${name} is of generation ${generation}; acknowledged ${expected.acknowledged}, asked ${expected.asked}`,
      );
    const addresses = endpoints.filter(({ Service }) => Service === name).map(({ Address }) => Address);
    for (const address of generation === 0 ? [] : expected.endpoints)
      if (!addresses.includes(address)) wrong.push(`${name} lost its endpoint ${address}`);
    if (generation === 0) expected.endpoints.clear();
    expected.acknowledged = generation;
    expected.asked = Math.max(generation, expected.asked);
  }
  const vips = services.flatMap(({ Endpoint }) => Endpoint.VirtualIPs?.map(({ Addr }) => Addr) ?? []);
  if (vips.length !== services.length) wrong.push(`${services.length} services with ${vips.length} VIPs`);
  if (new Set(vips).size !== vips.length) wrong.push(`the VIPs ${vips.sort()}`);
  const orphans = endpoints.filter(({ Service }) => !services.some(({ Spec }) => Spec.Name === Service));
  if (orphans.length > 0) wrong.push(`${orphans.length} endpoints of no service`);
  t.same(wrong, [], when);
  t.equal(agent.log.filter(({ level }) => level === 'error').length, 0, 'nothing to complain about');
  const [name, vip] = [services[0]?.Spec.Name, vips[0]?.split('/')[0]];
  return name === undefined || vip === undefined ? {} : { name, vip };
}

interface FoundService {
  readonly Spec: { readonly Name: string; readonly Labels: { readonly generation?: string } };
  readonly Endpoint: { readonly VirtualIPs?: readonly { readonly Addr: string }[] };
}

interface FoundEndpoint {
  readonly Service: string;
  readonly Address: string;
}

function newExpected(): Expected {
  return { acknowledged: 0, asked: 0, endpoints: new Set() };
}

function stackOf(writer: number): string {
  return `stack${writer}`;
}

function serviceOf(writer: number, index: number): string {
  return `w${writer}-${index}`;
}

function spec(name: string, generation: Generation): object {
  const Labels = { generation: String(generation) };
  return {
    Name: name,
    Labels,
    Networks: [{ Target: NETWORK }],
    Vipmesh: { Endpoints: [{ Address: '127.125.255.1' }] },
  };
}

function stackText(generation: Generation): string {
  const services = Array.from(
    { length: STACK_SERVICES },
    (_, i) => `  s${i}: { networks: [mesh], deploy: { labels: { generation: "${generation}" } } }`,
  );
  return `services:\n${services.join('\n')}\nnetworks:\n  mesh: { external: true }\n`;
}
