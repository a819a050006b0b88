// What Docker Engine 20.10.24 (API 1.41) said, kept as data in test/corpus/docker. Plugin lists and certificates are left out.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';

/**
 * Of two nodes in swarm mode, one object of each kind: GET /services?status=true, /tasks, /networks/ID?verbose=true, /nodes, /version,
 * /info. The health check and the port status are those of other objects of the same engine.
 */
export const DOCKER: Readonly<
  Record<'service' | 'task' | 'network' | 'node' | 'version' | 'info', Readonly<Record<string, unknown>>>
> = read('api-answers');

/**
 * What the client printed: `service inspect` of three services (with the status that `service ls` asks for), `network inspect` of a
 * network of one node, `node inspect` and `events`, one of each kind, their times rounded to what a JavaScript number holds.
 */
export const RECORDED: Readonly<
  Record<'vipsvc' | 'hostpub' | 'rrsvc' | 'network' | 'node', Readonly<Record<string, unknown>>> & {
    readonly events: readonly {
      readonly Type: string;
      readonly Action: string;
      readonly Actor: { readonly Attributes: Readonly<Record<string, string>> };
    }[];
  }
> = read('command-output');

/** Tests run in the project's directory; the corpus is not compiled. */
function read(name: string) {
  return JSON.parse(readFileSync(join(process.cwd(), 'test', 'corpus', 'docker', `${name}.json`), 'utf8'));
}
