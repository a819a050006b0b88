// `vipmesh status`: how the agent on this node is.
import type { Command } from 'commander';
import { type AgentStatus, agentStatus } from '../api/status-schema.ts';
import { humanDuration } from '../runtime/duration.ts';
import { formatObjects } from './format.ts';
import { field, formatFrontends, section } from './service-pretty.ts';
import { apiCommand, clientOf, type Shell } from './shell.ts';
import { formatTable } from './table.ts';

export function statusCommand(shell: Shell): Command {
  return apiCommand('status', 'how the agent is: what it listens on, its workers, stacks and warnings', [
    'vipmesh status',
    'vipmesh status --format json',
    "vipmesh status --format '{{.State}} {{.Node.Name}}'",
  ])
    .option('--format <FORMAT>', "json or a template such as '{{.State}}'")
    .action(async (flags: { readonly format?: string }, command: Command) => {
      const status = await clientOf(command, shell).get('/vipmesh/status', agentStatus);
      if (flags.format === undefined) shell.out(describe(status, shell.now()));
      else if (flags.format === 'json') shell.out(`${JSON.stringify(status)}\n`);
      else shell.out(formatObjects([status], flags.format));
    });
}

function describe(status: AgentStatus, now: number): string {
  const { Counts, Workers } = status;
  const since = humanDuration(now - Date.parse(status.StartedAt)).toLowerCase();
  const busy = Workers.reduce((sum, worker) => sum + worker.Connections, 0);
  const flows = Workers.reduce((sum, worker) => sum + worker.Flows, 0);
  const restarting = Workers.filter((worker) => worker.State === 'restarting').length;
  const facts = [
    field(
      'Agent',
      `vipmesh ${status.Version}, pid ${status.PID}, ${status.Privileged ? 'as root' : 'as an ordinary user'}`,
    ),
    field('State', `${status.State}, started ${since} ago`),
    field('Node', `${status.Node.Name} (${status.Node.ID})`),
    field('Socket', status.Socket),
    field('State folder', status.StateDir),
    field('Health, metrics', `http://${status.Admin}`),
    field('DNS', status.DNS.Listen.join(', ') || 'not listening'),
    field('Upstreams', serversText(status.DNS.Upstreams, status) || 'none: names from outside fail'),
    ...status.DNS.Routes.map((route) => field(`  .${route.Suffix}`, serversText(route.Upstreams, status))),
    field('DNS cache', cacheText(status.DNS.Cache)),
    field('Networks', String(Counts.Networks)),
    field('Services', String(Counts.Services)),
    field('Tasks', `${Counts.Tasks}, of which ${Counts.EligibleTasks} eligible`),
    field(
      'Workers',
      `${Workers.length}${restarting > 0 ? ` (${restarting} restarting)` : ''}, ${busy} connections, ${flows} flows`,
    ),
    field('Revision', String(status.Revision)),
    ...(status.Cluster === undefined ? [] : [field('Store', storeText(status.Cluster, now))]),
  ];
  return [
    facts.join(''),
    section('Nodes', nodeTable(status)),
    section('Stacks', stackTable(status)),
    section('Frontends', status.Frontends.length === 0 ? '' : formatFrontends(status.Frontends)),
    status.Warnings.map((warning) => `Warning: ${warning}\n`).join(''),
  ]
    .filter((text) => text !== '')
    .join('\n');
}

const TROUBLE: Readonly<Record<AgentStatus['DNS']['Servers'][number]['State'], string>> = {
  unused: '',
  answers: '',
  silent: ' (silent)',
  loop: ' (asks us in turn)',
};

function serversText(servers: readonly string[], { DNS }: AgentStatus): string {
  const trouble = (address: string) => TROUBLE[DNS.Servers.find((one) => one.Address === address)?.State ?? 'unused'];
  return servers.map((address) => `${address}${trouble(address)}`).join(', ');
}

function cacheText({ Entries, Bytes, Limit }: AgentStatus['DNS']['Cache']): string {
  if (Limit === 0) return 'off';
  return `${Entries} answers, ${Math.ceil(Bytes / 1024)} KiB of ${Math.round(Limit / 1024)}`;
}

function storeText({ Store }: NonNullable<AgentStatus['Cluster']>, now: number): string {
  const where = `etcd ${Store.Endpoints.join(', ')}${Store.Prefix}`;
  const since = humanDuration(now - Date.parse(Store.Since)).toLowerCase();
  if (Store.Connected) return `${where}, connected for ${since}`;
  const copy = Store.ServingCopy ? ", serving this node's own copy" : ', serving the last known state';
  return `${where}, NOT CONNECTED for ${since}${copy}${Store.Error === undefined ? '' : `: ${Store.Error}`}`;
}

function nodeTable({ Cluster }: AgentStatus): string {
  if (Cluster === undefined) return '';
  const ms = (value: number | undefined) =>
    value === undefined ? '' : `${value < 10 ? value.toFixed(1) : Math.round(value)} ms`;
  const rows = Cluster.Nodes.map((node) => [
    `${node.Name}${node.Self ? ' *' : ''}`,
    node.State,
    node.Availability,
    node.Address,
    node.Revision === undefined ? '' : String(node.Revision),
    node.Behind === undefined || node.Behind === 0 ? '' : String(node.Behind),
    ms(node.RoundTrip),
    ms(node.P50),
    ms(node.P99),
  ]);
  return formatTable(
    ['NODE', 'STATE', 'AVAILABILITY', 'ADDRESS', 'REVISION', 'BEHIND', 'ROUND TRIP', 'IN EFFECT P50', 'P99'],
    rows,
  );
}

function stackTable({ Stacks }: AgentStatus): string {
  if (Stacks.length === 0) return '';
  const rows = Stacks.map(({ Name, File, State, Error: why }) => [Name, File, State, why ?? '']);
  return formatTable(['NAME', 'FILE', 'STATE', 'WHY'], rows);
}
