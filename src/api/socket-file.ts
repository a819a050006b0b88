// The API's unix socket as a file: taking it, who may use it, and leaving nothing behind.
import { chmodSync, chownSync, lstatSync, readFileSync, rmSync } from 'node:fs';
import { request, type Server } from 'node:http';
import { dirname } from 'node:path';
import { makeDirectory } from '../runtime/directory.ts';
import { ApiError } from './errors.ts';

/** Whoever is in this group may use the API of an agent that runs as root, as the group `docker` may use Docker's. */
const GROUP = 'vipmesh';
/** sockaddr_un (unix(7)) has 108 bytes with the final zero; Node cuts a longer path off without a word. */
const MAX_PATH_BYTES = 107;
/** An agent answers in milliseconds; one that does not within this time is stopped or hangs, but it holds the socket. */
const PROBE_TIMEOUT_MS = 2000;

/**
 * Listens on `path` with exactly this mode. A socket that nobody listens on any more is replaced. Throws ApiError
 * SOCKET_IN_USE or SOCKET_UNUSABLE.
 */
export async function bindSocket(server: Server, path: string, mode: number): Promise<void> {
  await checkSocket(path);
  makeFolder(path, mode);
  try {
    await listen(server, path);
    chmodSync(path, mode);
    const gid = process.getuid?.() === 0 ? groupId(GROUP) : undefined;
    if (gid !== undefined) chownSync(path, 0, gid);
  } catch (cause) {
    server.close();
    throw unusable(path, cause);
  }
}

/** Before anything else is taken: is there an agent already? Throws ApiError as bindSocket does. */
export async function checkSocket(path: string): Promise<void> {
  refuseLongPath(path);
  await removeStale(path);
}

function refuseLongPath(path: string): void {
  const bytes = Buffer.byteLength(path);
  if (bytes <= MAX_PATH_BYTES) return;
  throw new ApiError(
    'SOCKET_UNUSABLE',
    `the API socket ${path} cannot be made: its path has ${bytes} bytes, of ${MAX_PATH_BYTES} at most; choose a shorter one with --socket`,
  );
}

export function releaseSocket(path: string): void {
  rmSync(path, { force: true });
}

/** The number of a group in the text of /etc/group (group(5)). */
export function groupIdIn(text: string, name: string): number | undefined {
  const line = text.split('\n').find((one) => one.startsWith(`${name}:`));
  const id = line?.split(':')[2];
  return id !== undefined && /^\d+$/.test(id) ? Number(id) : undefined;
}

function groupId(name: string): number | undefined {
  try {
    return groupIdIn(readFileSync('/etc/group', 'utf8'), name);
  } catch {
    return undefined;
  }
}

function makeFolder(path: string, mode: number): void {
  try {
    makeDirectory(dirname(path), (mode & 0o070) === 0 ? 0o700 : 0o755);
  } catch (cause) {
    throw unusable(path, cause);
  }
}

/**
 * The umask is narrowed while the socket is made, so that at no time anybody else may connect. Binding a path happens
 * within the call (no name is looked up), so nothing else runs under that umask.
 */
function listen(server: Server, path: string): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    const before = process.umask(0o177);
    try {
      server.listen(path, () => {
        server.off('error', reject);
        resolve();
      });
    } finally {
      process.umask(before);
    }
  });
}

async function removeStale(path: string): Promise<void> {
  const found = lstatSync(path, { throwIfNoEntry: false });
  if (found === undefined) return;
  if (!found.isSocket()) {
    throw new ApiError(
      'SOCKET_UNUSABLE',
      `${path} exists and is no socket; remove it, or choose another path with --socket`,
    );
  }
  const holder = await whoListens(path);
  if (holder === 'nobody') {
    rmSync(path, { force: true });
    return;
  }
  const pid = holder.pid === undefined ? '' : ` (pid ${holder.pid})`;
  throw new ApiError(
    'SOCKET_IN_USE',
    `another agent is running on ${path}${pid}; stop it first, or give this one its own --socket and --state-dir`,
  );
}

function whoListens(path: string): Promise<'nobody' | { readonly pid?: number }> {
  return new Promise((resolve) => {
    const asked = request({ socketPath: path, path: '/vipmesh/status', timeout: PROBE_TIMEOUT_MS }, (response) => {
      let body = '';
      response.setEncoding('utf8');
      response.on('data', (chunk: string) => {
        body += chunk;
      });
      response.on('error', () => resolve({}));
      response.on('end', () => resolve(pidOf(body)));
    });
    asked.on('timeout', () => {
      resolve({});
      asked.destroy();
    });
    asked.on('error', (error: NodeJS.ErrnoException) => {
      resolve(error.code === 'ECONNREFUSED' || error.code === 'ENOENT' ? 'nobody' : {});
    });
    asked.end();
  });
}

function pidOf(body: string): { readonly pid?: number } {
  try {
    const status: unknown = JSON.parse(body);
    const pid = typeof status === 'object' && status !== null && 'PID' in status ? status.PID : undefined;
    return typeof pid === 'number' ? { pid } : {};
  } catch {
    return {};
  }
}

function unusable(path: string, cause: unknown): ApiError {
  if (cause instanceof ApiError) return cause;
  const code = cause instanceof Error && 'code' in cause ? String(cause.code) : '';
  const why =
    code === 'EACCES' || code === 'EPERM'
      ? 'this user may not create it; choose a path of your own with --socket'
      : code === 'EROFS'
        ? 'the file system is read-only; choose another path with --socket'
        : cause instanceof Error
          ? cause.message
          : String(cause);
  return new ApiError('SOCKET_UNUSABLE', `the API socket ${path} cannot be made: ${why}`, { cause });
}
