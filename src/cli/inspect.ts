// `NOUN inspect A B …`, the same for every noun: what is found is printed, what is not is said, and then the status is 1.
import { formatObjects } from './format.ts';
import { errorCode, type Shell } from './shell.ts';

export interface InspectRequest<T> {
  readonly references: readonly string[];
  readonly format: string | undefined;
  get(reference: string): Promise<T>;
  /** `--pretty`: instead of JSON. */
  readonly pretty?: ((object: T) => string) | undefined;
}

export async function inspect<T>(shell: Shell, { references, format, get, pretty }: InspectRequest<T>): Promise<void> {
  const found: T[] = [];
  const missing: string[] = [];
  for (const reference of references) {
    try {
      found.push(await get(reference));
    } catch (error) {
      const code = errorCode(error);
      if (!(error instanceof Error) || (code !== 'NOT_FOUND' && code !== 'BAD_REQUEST')) throw error;
      missing.push(error.message);
    }
  }
  shell.out(pretty === undefined ? formatObjects(found, format) : found.map(pretty).join('\n'));
  for (const message of missing) shell.err(`vipmesh: ${message}\n`);
  if (missing.length > 0) shell.fail(1);
}
