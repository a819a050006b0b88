// The load generators, each one a process, and what they report.
import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';
import type { PacedResult } from './paced-client.ts';
import { BenchError, type Processes, type Running, type Usage } from './processes.ts';

/** What one run under load cost and gave. */
export interface LoadResult {
  /** Requests, or queries, per second. */
  readonly rate: number;
  readonly errors: number;
  /** CPU time of the process under test, per request; NaN when there is none in between. */
  readonly cpuMicroseconds: number;
}

/** `wrk` with one thread. `close`: each request on a connection of its own. */
export async function runWrk(
  processes: Processes,
  subject: Usage | undefined,
  options: {
    /** 127.0.0.1 by default. */
    readonly address?: string;
    readonly port: number;
    readonly path: string;
    readonly connections: number;
    readonly seconds: number;
    readonly close?: boolean;
    /** The words before the command, which lead to another namespace. */
    readonly through?: readonly string[];
  },
): Promise<LoadResult> {
  const { address = '127.0.0.1', through = [] } = options;
  const args = ['-t1', `-c${options.connections}`, `-d${options.seconds}s`, '--timeout', '5s'];
  if (options.close === true) args.push('-H', 'Connection: close');
  const before = subject?.cpuSeconds() ?? Number.NaN;
  const words = [...through, 'wrk', ...args, `http://${address}:${options.port}${options.path}`];
  const output = await processes.run('wrk', words[0] ?? '', words.slice(1));
  const cpu = (subject?.cpuSeconds() ?? Number.NaN) - before;
  const requests = numberIn(output, /(\d+) requests in /);
  const errors = /Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)/.exec(output)?.slice(1) ?? [];
  const refused = /Non-2xx or 3xx responses: (\d+)/.exec(output)?.[1] ?? 0;
  return {
    rate: numberIn(output, /Requests\/sec:\s+([\d.]+)/),
    errors: errors.reduce((sum, count) => sum + Number(count), Number(refused)),
    cpuMicroseconds: (cpu * 1e6) / requests,
  };
}

/** Requests at a given rate, whatever the answers take (an open loop). */
export async function runPaced(
  processes: Processes,
  options: {
    readonly port: number;
    readonly path: string;
    readonly rate: number;
    readonly connections: number;
    readonly seconds: number;
  },
): Promise<PacedResult> {
  const script = fileURLToPath(new URL('./paced-client.js', import.meta.url));
  const output = await processes.run('paced-client', process.execPath, [script, JSON.stringify(options)]);
  return JSON.parse(output) as PacedResult;
}

/**
 * `dnsperf` with two threads, each with four sockets and its usual 100 questions under way, asking for the names of a file over
 * and over. One thread was busier than the server that it asked, so that it, and no server, set the rate.
 */
export async function runDnsperf(
  processes: Processes,
  subject: Running | undefined,
  options: { readonly port: number; readonly queryFile: string; readonly seconds: number },
): Promise<LoadResult> {
  const before = subject?.cpuSeconds() ?? Number.NaN;
  const output = await processes.run('dnsperf', 'dnsperf', [
    ...['-s', '127.0.0.1', '-p', `${options.port}`, '-d', options.queryFile],
    ...['-l', `${options.seconds}`, '-c', '8', '-T', '2', '-q', '200'],
  ]);
  const cpu = (subject?.cpuSeconds() ?? Number.NaN) - before;
  const completed = numberIn(output, /Queries completed:\s+(\d+)/);
  const good = /NOERROR (\d+)/.exec(output)?.[1] ?? 0;
  return {
    rate: numberIn(output, /Queries per second:\s+([\d.]+)/),
    errors: numberIn(output, /Queries lost:\s+(\d+)/) + completed - Number(good),
    cpuMicroseconds: (cpu * 1e6) / completed,
  };
}

export interface AutocannonResult {
  readonly rate: number;
  readonly p99Ms: number;
  readonly errors: number;
}

/** `npx autocannon -c 64` as the README shows it. */
export async function runAutocannon(processes: Processes, url: string, seconds: number): Promise<AutocannonResult> {
  const script = createRequire(import.meta.url).resolve('autocannon/autocannon.js');
  const output = await processes.run('autocannon', process.execPath, [
    script,
    '-c',
    '64',
    '-d',
    `${seconds}`,
    '-j',
    url,
  ]);
  const json = output.split('\n').find((line) => line.startsWith('{'));
  if (json === undefined) throw new BenchError(`autocannon printed no result:\n${output}`);
  const result = JSON.parse(json) as {
    readonly requests: { readonly average: number };
    readonly latency: { readonly p99: number };
    readonly errors: number;
    readonly non2xx: number;
  };
  return { rate: result.requests.average, p99Ms: result.latency.p99, errors: result.errors + result.non2xx };
}

function numberIn(output: string, pattern: RegExp): number {
  const found = pattern.exec(output)?.[1];
  if (found === undefined) throw new BenchError(`${pattern} is not in this output:\n${output}`);
  return Number(found);
}
