// The agent's log: one JSON object a line, or the same readable, on standard error. The only importer of pino.
import { writeSync } from 'node:fs';
import { type DestinationStream, destination, pino, stdTimeFunctions } from 'pino';

export type LogLevel = 'debug' | 'info' | 'warn' | 'error';
export type LogFormat = 'json' | 'pretty';
export const LOG_LEVELS: readonly LogLevel[] = ['debug', 'info', 'warn', 'error'];
export const LOG_FORMATS: readonly LogFormat[] = ['json', 'pretty'];

/** Values of a log line. An Error is written as its message and code; bigints as decimal text. */
export type LogFields = Readonly<Record<string, unknown>>;

/**
 * What every room logs through. `message` is constant text, so that lines can be counted and searched; whatever varies is
 * a field. Lines are written before the call returns, so none is lost when the process ends.
 */
export interface Log {
  debug(message: string, fields?: LogFields): void;
  info(message: string, fields?: LogFields): void;
  warn(message: string, fields?: LogFields): void;
  error(message: string, fields?: LogFields): void;
}

export interface LogOptions {
  readonly level: LogLevel;
  readonly format: LogFormat;
  /** Absent: standard error. Each call is one whole line with its newline. */
  readonly write?: (line: string) => void;
}

export function createLog(options: LogOptions): Log {
  const logger = pino(
    {
      level: options.level,
      base: null,
      messageKey: 'message',
      timestamp: stdTimeFunctions.isoTime,
      formatters: { level: (label) => ({ level: label }) },
    },
    stream(options),
  );
  const at = (level: LogLevel) => (message: string, fields?: LogFields) => {
    if (!logger.isLevelEnabled(level)) return;
    logger[level](plainFields(fields), message);
  };
  return { debug: at('debug'), info: at('info'), warn: at('warn'), error: at('error') };
}

/** For places that need a Log and nobody reads it. */
export const SILENT_LOG: Log = { debug() {}, info() {}, warn() {}, error() {} };

/** One JSON line as a person reads it: `12:34:56.789 WARN  port is taken  service=web port=8080/tcp`. */
export function readableLine(json: string, colour: boolean): string {
  const { time, level, message, ...fields } = JSON.parse(json) as Record<string, unknown>;
  const clock = String(time).slice(11, 23);
  const label = String(level).toUpperCase().padEnd(5);
  const rest = Object.entries(fields).map(([key, value]) => `${key}=${readableValue(value)}`);
  const tail = rest.length === 0 ? '' : `  ${dim(rest.join(' '), colour)}`;
  return `${dim(clock, colour)} ${colour ? `${COLOURS[String(level)] ?? ''}${label}\x1b[0m` : label} ${String(message)}${tail}\n`;
}

const COLOURS: Readonly<Record<string, string>> = {
  debug: '\x1b[2m',
  info: '\x1b[32m',
  warn: '\x1b[33m',
  error: '\x1b[31m',
};
const STDERR = 2;

function stream({ format, write }: LogOptions): DestinationStream {
  if (format === 'pretty') {
    const colour = write === undefined && process.stderr.isTTY === true && process.env.NO_COLOR === undefined;
    const put = write ?? writeStderr;
    return { write: (json) => put(readableLine(json, colour)) };
  }
  return write === undefined ? destination({ dest: STDERR, sync: true }) : { write };
}

/** A terminal that is stopped or gone must not end the agent: EAGAIN and EIO lose the line, nothing else. */
function writeStderr(line: string): void {
  try {
    writeSync(STDERR, line);
  } catch {
    // There is nowhere left to report to.
  }
}

function plainFields(fields: LogFields | undefined): Record<string, unknown> {
  if (fields === undefined) return {};
  return Object.fromEntries(Object.entries(fields).map(([key, value]) => [key, plainValue(value)]));
}

function plainValue(value: unknown): unknown {
  if (typeof value === 'bigint') return value.toString();
  if (!(value instanceof Error)) return value;
  const code = 'code' in value && typeof value.code === 'string' ? ` (${value.code})` : '';
  const cause = value.cause instanceof Error ? `: ${value.cause.message}` : '';
  return `${value.message}${code}${cause}`;
}

function readableValue(value: unknown): string {
  if (typeof value === 'string') return /[\s="]/.test(value) || value === '' ? JSON.stringify(value) : value;
  return JSON.stringify(value);
}

function dim(text: string, colour: boolean): string {
  return colour ? `\x1b[2m${text}\x1b[0m` : text;
}
