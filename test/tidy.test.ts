// The house rules that a compiler does not know: who may import whom, one importer for each package, sizes, words.
import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, normalize, relative, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import t from 'tap';

const root = resolve(dirname(fileURLToPath(import.meta.url)), '../..');
const files = sources('src').map((path) => ({ path, text: readFileSync(join(root, path), 'utf8') }));

/** Tests and benchmarks: the rules for rooms are not theirs, those for readers are. */
const others = ['test', 'bench']
  .flatMap(sources)
  .map((path) => ({ path, text: readFileSync(join(root, path), 'utf8') }));
/** Marks of work that was left. They are put together here, since this file is looked at too. */
const UNFINISHED = new RegExp(`\\b(${['TO' + 'DO', 'FIX' + 'ME', 'XX' + 'X'].join('|')})\\b`);

/** Besides itself. `x/y` allows that one file only. */
const MAY_IMPORT: Readonly<Record<string, readonly string[]>> = {
  model: [],
  runtime: [],
  catalog: ['model', 'store', 'runtime'],
  allocate: ['model'],
  compose: ['model'],
  store: ['model', 'runtime'],
  control: ['model', 'catalog', 'allocate', 'compose', 'store', 'runtime'],
  health: ['model', 'runtime', 'native/netns'],
  tasks: ['model', 'runtime', 'health', 'native/netns', 'native/container-entry', 'native/process'],
  native: ['runtime', 'model'],
  cluster: ['model', 'catalog', 'store', 'control', 'runtime'],
  dns: ['model', 'catalog', 'native', 'runtime'],
  balancer: ['model', 'catalog', 'native', 'runtime'],
  datapath: ['dns', 'balancer', 'native', 'model', 'runtime'],
  netlink: ['model', 'native', 'runtime'],
  overlay: ['model', 'catalog', 'netlink', 'native', 'runtime'],
  api: ['model', 'catalog', 'control', 'runtime'],
  agent: [
    'model',
    'runtime',
    'catalog',
    'store',
    'cluster',
    'allocate',
    'control',
    'compose',
    'tasks',
    'health',
    'dns',
    'balancer',
    'datapath',
    'overlay',
    'netlink',
    'native',
    'api',
    'config',
    'config-cluster',
    'config-dns',
    'config-docker',
  ],
  cli: ['model', 'api/client', 'api/schema', 'api/status-schema', 'api/system-schema', 'api/requests', 'runtime'],
};

const ONLY_IMPORTER: Readonly<Record<string, string>> = {
  koffi: 'native/',
  'dns-packet': 'dns/message',
  'ip-address': 'model/address',
  'node-netlink': 'netlink/socket',
  pino: 'runtime/log',
  lmdb: 'store/embedded',
  '@grpc/grpc-js': 'store/etcd/connection',
  '@grpc/proto-loader': 'store/etcd/protocol',
  yaml: 'compose/',
  'prom-client': 'runtime/metrics',
};

t.test('who imports whom', (t) => {
  t.ok(files.length > 60, `saw ${files.length} files`);
  let seen = 0;
  for (const { path, text } of files) {
    const [, room, ...rest] = path.split('/');
    if (room === undefined || rest.length === 0) continue;
    const allowed = MAY_IMPORT[room];
    t.ok(allowed, `${path}: its room is known`);
    for (const target of importsOf(path, text)) {
      seen++;
      const inside = target.startsWith(`${room}/`);
      const fine =
        inside ||
        allowed?.some((rule) => target === `${rule}.ts` || (!rule.includes('/') && target.startsWith(`${rule}/`)));
      if (!fine)
        t.fail(`${path} imports ${target}: ${room} may import only itself, ${allowed?.join(', ') || 'nothing'}`);
    }
  }
  t.ok(seen > 200, `saw ${seen} imports`);
  t.end();
});

t.test('each package has one importer', (t) => {
  const seen = new Set<string>();
  for (const { path, text } of files) {
    for (const [, name] of text.matchAll(/from '([^'.][^']*)'/g)) {
      const owner = name === undefined ? undefined : ONLY_IMPORTER[name];
      if (name === undefined || owner === undefined) continue;
      seen.add(name);
      t.ok(path.startsWith(`src/${owner}`), `${path} imports ${name}, which belongs to ${owner}`);
    }
  }
  t.same([...seen].sort(), Object.keys(ONLY_IMPORTER).sort(), 'all of them are used');
  t.end();
});

t.test('files stay readable', (t) => {
  for (const { path, text } of [...files, ...others]) {
    const lines = text.split('\n').length;
    if (lines > 420) t.fail(`${path} has ${lines} lines; split it by what it does`);
    const word = UNFINISHED.exec(text);
    if (word !== null) t.fail(`${path} leaves something to do: ${word[0]}`);
  }
  for (const { path, text } of files)
    if (/process\.exit\(/.test(text) && path !== 'src/main.ts') t.fail(`${path} exits the process; only main may`);
  t.ok(others.length > 60, `saw ${files.length} and ${others.length} files`);
  t.match('to be done: TO' + 'DO', UNFINISHED, 'the words are found');
  t.end();
});

t.test('every room is on the map', (t) => {
  const map = readFileSync(join(root, 'src/README.md'), 'utf8');
  const rooms = readdirSync(join(root, 'src'), { withFileTypes: true }).filter((entry) => entry.isDirectory());
  for (const room of rooms) t.ok(map.includes(`${room.name}/`), `src/README.md tells what ${room.name}/ is`);
  t.end();
});

function sources(folder: string): string[] {
  return readdirSync(join(root, folder), { withFileTypes: true, recursive: true })
    .filter((entry) => entry.isFile() && entry.name.endsWith('.ts'))
    .map((entry) => relative(root, join(entry.parentPath, entry.name)))
    .sort();
}

/** Our own files that a file imports, as `room/file.ts`. */
function importsOf(path: string, text: string): string[] {
  return [...text.matchAll(/(?:from|import)\s*\(?\s*'(\.[^']+)'/g)].flatMap(([, target]) => {
    const found = normalize(join(dirname(path), target ?? ''));
    return found.startsWith('src/') ? [found.slice('src/'.length)] : [];
  });
}
