// Names of services, networks and the like, and how they relate to DNS labels.

/**
 * A service, network or task name: 1-63 characters of letters, digits, `_`, `-` and `.`, beginning with a letter or digit
 * (what Docker accepts; 63 because every name must fit a DNS label, RFC 1035 section 2.3.4).
 */
const NAME = /^[a-zA-Z0-9][a-zA-Z0-9_.-]{0,62}$/;

/** Why a name cannot be used, as the end of a sentence that began with the name; undefined when it can. */
export function nameProblem(name: string): string | undefined {
  if (name.length === 0) return 'is empty';
  if (name.length > 63) return `is ${name.length} characters long; a DNS label holds 63`;
  if (!NAME.test(name)) return 'may hold only letters, digits, "_", "-" and ".", and begins with a letter or digit';
  return undefined;
}

/** Docker's label on every object that a stack made. */
export const STACK_LABEL = 'com.docker.stack.namespace';

/** `shop` and `postgres` → `shop_postgres`. */
export function stackName(stack: string, name: string): string {
  return `${stack}_${name}`;
}

/** The name within its stack: `shop_postgres` of stack `shop` → `postgres`; undefined when it is of no such stack. */
export function shortName(name: string, labels: Readonly<Record<string, string>>): string | undefined {
  const stack = labels[STACK_LABEL];
  if (stack === undefined || !name.startsWith(`${stack}_`)) return undefined;
  const short = name.slice(stack.length + 1);
  return short.length > 0 ? short : undefined;
}
