// PURE: what came in, as its schema says.
import type { z } from 'zod';
import { ApiError } from './errors.ts';

/** More than this helps nobody. */
const MAX_PROBLEMS = 10;

/** Throws ApiError BAD_REQUEST that names every field that is wrong. `what`: how the message calls it. */
export function validated<T extends z.ZodType>(schema: T, value: unknown, what = 'request'): z.infer<T> {
  const result = schema.safeParse(value ?? {});
  if (result.success) return result.data;
  const problems = result.error.issues.map(({ path, message }) =>
    path.length === 0 ? message : `${path.join('.')}: ${message}`,
  );
  const more = problems.length > MAX_PROBLEMS ? `; and ${problems.length - MAX_PROBLEMS} more` : '';
  throw new ApiError('BAD_REQUEST', `invalid ${what}: ${problems.slice(0, MAX_PROBLEMS).join('; ')}${more}`);
}
