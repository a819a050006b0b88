// Stack files as people have them: `docker stack deploy` and `vipmesh stack deploy` make the same of each, again changes
// nothing, and an edit changes only what it is about.
import './support/node.ts';
import { copyFileSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import type { DockerNetwork, DockerService } from '../../src/api/schema.ts';
import { ask } from '../api/world.ts';
import { type Agent, startAgent } from '../support/agent.ts';
import { needsPrograms } from '../support/requirements.ts';
import { type DockerClient, dockerClient } from './support/docker-client.ts';
import { mayBeNode } from './support/node.ts';

/** Tests run in the project's directory; the corpus is not compiled. */
const CORPUS = join(process.cwd(), 'test', 'corpus', 'compose');
const STACK = 'shop';
/** What the files want to find beside them, and in the environment. */
const BESIDE = ['server.key', 'site.conf'];
const ENVIRONMENT = { API_VERSION: '2' };

/** Docker's client leaves these out of what it sends. */
const FILES: readonly { readonly file: string; readonly onlyHere?: Readonly<Record<string, object>> }[] = [
  { file: 'two-tier' },
  { file: 'voting-app' },
  { file: 'proxy-api', onlyHere: { shop_api: { expose: [{ Protocol: 'tcp', Port: 3000 }] } } },
  { file: 'databases', onlyHere: { shop_mariadb: { networks: { shop_foo: ['mariadb', 'mysql'] } } } },
  { file: 'visualizer' },
  { file: 'traefik' },
  {
    file: 'wordpress',
    onlyHere: {
      shop_db: {
        expose: [
          { Protocol: 'tcp', Port: 3306 },
          { Protocol: 'tcp', Port: 33_060 },
        ],
      },
    },
  },
  { file: 'elk' },
  { file: 'portainer' },
  { file: 'monitoring' },
];

t.test('stack files', async (t) => {
  if (!(await mayBeNode(t)) || !needsPrograms(t, 'docker')) return;
  const agent = await startAgent({ args: ['--drain', '0s', '--allow-plaintext-overlays'] });
  Object.assign(process.env, ENVIRONMENT);
  const docker = dockerClient(agent, ENVIRONMENT);
  for (const external of ['edge-net', 'traefik-public'])
    await docker.text('network', 'create', '-d', 'overlay', '--attachable', external);
  for (const { file, onlyHere = {} } of FILES)
    await t.test(file, async (t) => {
      const path = copyOf(file, agent);
      await docker.text('stack', 'deploy', '-c', path, STACK);
      const byDocker = await objects(agent);
      const versions = await versionsOf(agent);
      t.ok(Object.keys(versions).length > 0, `${Object.keys(versions)}`);
      await docker.text('stack', 'deploy', '-c', path, STACK);
      t.same(await versionsOf(agent), versions, 'the same file again changes nothing');
      await docker.text('stack', 'rm', STACK);
      t.same(await versionsOf(agent), {}, 'all of it is removed');

      await deploy(t, agent, path);
      const here = await objects(agent);
      t.same(here.networks, byDocker.networks);
      for (const [name, service] of here.services)
        t.same(service, { ...byDocker.services.get(name), ...onlyHere[name] }, name);
      await docker.text('stack', 'rm', STACK);
    });
  await t.test('an edit', (t) => edits(t, docker, agent));
});

/** Files that it names are looked for beside it. */
function copyOf(file: string, agent: Agent): string {
  for (const name of BESIDE) writeFileSync(join(agent.folder.path, name), 'kept nowhere');
  const path = join(agent.folder.path, `${file}.yml`);
  copyFileSync(join(CORPUS, `${file}.yml`), path);
  return path;
}

/** `--prune`, and what has not changed. */
async function edits(t: Test, docker: DockerClient, agent: Agent): Promise<void> {
  const path = join(agent.folder.path, 'edited.yml');
  const text = readFileSync(join(CORPUS, 'voting-app.yml'), 'utf8');
  writeFileSync(path, text);
  await docker.text('stack', 'deploy', '-c', path, STACK);
  t.equal(await docker.text('stack', 'ls', '--format', '{{.Name}} {{.Services}}'), `${STACK} 5`);
  const before = await versionsOf(agent);
  const edited = text.replace('- 5000:80', '- 5002:80').replace(/\n {2}counter:(?:.|\n)*?\nnetworks:/, '\nnetworks:');
  t.notMatch(edited, 'counter');
  writeFileSync(path, edited);
  await docker.text('stack', 'deploy', '-c', path, STACK);
  const after = await versionsOf(agent);
  t.same({ ...after, shop_ballot: before.shop_ballot }, before, 'only the service whose port is another');
  t.not(after.shop_ballot, before.shop_ballot);
  await docker.text('stack', 'deploy', '--prune', '-c', path, STACK);
  const { shop_counter: _, ...pruned } = after;
  t.same(await versionsOf(agent), pruned);
  t.equal(
    await docker.text('stack', 'services', '--filter', 'name=shop_ballot', '--format', '{{.Ports}}', STACK),
    '*:5002->80/tcp',
  );
  t.match(await docker('stack', 'ps', STACK), { code: 1, stderr: /nothing found in stack: shop/ }, 'as Docker says it');
  await docker.text('stack', 'rm', STACK);
}

t.test('networks that ask for encryption', async (t) => {
  if (!(await mayBeNode(t)) || !needsPrograms(t, 'docker')) return;
  const agent = await startAgent({ args: ['--drain', '0s'] });
  const docker = dockerClient(agent);
  const path = copyOf('two-tier', agent);
  const refusal = /network shop_private asks to be encrypted.*--allow-plaintext-overlays\n$/;
  t.match(await docker('stack', 'deploy', '-c', path, STACK), { code: 1, stderr: refusal });
  t.match(await agent.cli('stack', 'deploy', '-c', path, STACK), { code: 1, stderr: refusal });
  t.equal(await docker.text('service', 'ls', '-q'), '');
});

async function deploy(t: Test, agent: Agent, path: string): Promise<void> {
  const outcome = await agent.cli('stack', 'deploy', '-c', path, STACK);
  t.equal(outcome.code, 0, outcome.stderr);
}

/** The network half of everything of the stack, without what differs by nature. */
async function objects(agent: Agent) {
  // Docker's client would not show what Docker does not have.
  const networks: readonly DockerNetwork[] = (await ask(agent.folder.socket, 'GET', '/networks')).json;
  const services: readonly DockerService[] = (await ask(agent.folder.socket, 'GET', '/services')).json;
  const names = new Map(networks.map(({ Id, Name }) => [Id, Name]));
  const shown = networks.map(({ Name, Driver, Internal, Attachable, Labels, Options, IPAM }) => ({
    Name,
    Driver,
    Internal,
    Attachable,
    Labels,
    options: Object.keys(Options),
    // One file says which; others depend on the order in which they are made, which is chance with Docker's client.
    subnets: Name === 'shop_private' ? IPAM.Config : IPAM.Config.length,
  }));
  return {
    networks: new Map(shown.map((network) => [network.Name, network])),
    services: new Map(services.map((service) => [service.Spec.Name, networkHalf(service, names)])),
  };
}

function networkHalf({ Spec }: DockerService, names: ReadonlyMap<string, string>) {
  const { 'com.docker.stack.image': _, ...labels } = Spec.Labels;
  const { ContainerSpec, Networks } = Spec.TaskTemplate;
  const { Mode, Ports = [] } = Spec.EndpointSpec;
  return {
    labels,
    mode: Spec.Mode,
    endpointMode: Mode,
    // Docker's client sorts them by number.
    ports: Ports.map((port) => JSON.stringify(port)).sort(),
    health: ContainerSpec.Healthcheck,
    networks: Object.fromEntries(Networks.map(({ Target, Aliases = [] }) => [names.get(Target), [...Aliases].sort()])),
    expose: Spec.Vipmesh.Expose,
  };
}

/** Of every service and network of the stack: when it was last changed. Networks do not say, and are known by their ids. */
async function versionsOf(agent: Agent): Promise<Readonly<Record<string, number | string>>> {
  const networks: readonly DockerNetwork[] = (await ask(agent.folder.socket, 'GET', '/networks')).json;
  const services: readonly DockerService[] = (await ask(agent.folder.socket, 'GET', '/services')).json;
  return Object.fromEntries([
    ...services.map(({ Spec, Version }) => [Spec.Name, Version.Index]),
    ...networks.filter(({ Name }) => Name.startsWith(`${STACK}_`)).map(({ Name, Id }) => [Name, Id]),
  ]);
}
