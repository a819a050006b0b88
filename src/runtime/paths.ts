// Where the agent and the CLI meet by default. PURE: environment and user come as arguments.
import { join } from 'node:path';

export interface UserEnvironment {
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly uid: number;
  readonly home: string;
}

/** The API socket: /run for root; else the user's runtime directory, or beside the state where there is none. */
export function defaultSocket(user: UserEnvironment): string {
  if (user.uid === 0) return '/run/vipmesh/vipmesh.sock';
  const runtime = user.env.XDG_RUNTIME_DIR;
  return runtime?.startsWith('/') ? join(runtime, 'vipmesh.sock') : join(defaultStateDir(user), 'vipmesh.sock');
}

/** What must survive a restart. Relative XDG values are ignored, as the XDG Base Directory specification demands. */
export function defaultStateDir(user: UserEnvironment): string {
  if (user.uid === 0) return '/var/lib/vipmesh';
  const state = user.env.XDG_STATE_HOME;
  return join(state?.startsWith('/') ? state : join(user.home, '.local', 'state'), 'vipmesh');
}
