// Names of services, networks and the like, and how they relate to DNS labels.

/**
 * A service, network or task name: 1-63 characters of letters, digits, `_`, `-` and `.`, beginning with a letter or digit
 * (what Docker accepts; 63 because every name must fit a DNS label, RFC 1035 section 2.3.4). Dots stand between labels, so
 * neither two together nor at the end: such a name could not be asked for.
 */
const NAME = /^[a-zA-Z0-9][a-zA-Z0-9_-]*(?:\.[a-zA-Z0-9_-]+)*$/;

/** Why a name cannot be used, as the end of a sentence that began with the name; undefined when it can. */
export function nameProblem(name: string): string | undefined {
  if (name.length === 0) return 'is empty';
  if (name.length > 63) return `is ${name.length} characters long; a DNS label holds 63`;
  if (!/^[a-zA-Z0-9][a-zA-Z0-9_.-]*$/.test(name)) {
    return 'may hold only letters, digits, "_", "-" and ".", and begins with a letter or digit';
  }
  if (!NAME.test(name)) return 'has a "." with nothing behind it';
  return undefined;
}

/**
 * Why an alias cannot be used, as nameProblem says it. An alias is any DNS name, `db.example.com` or `_http`: up to 253
 * characters in labels of up to 63 (RFC 1035 section 2.3.4).
 */
export function aliasProblem(alias: string): string | undefined {
  if (alias.length === 0) return 'is empty';
  if (alias.length > 253) return `is ${alias.length} characters long; a DNS name holds 253`;
  const labels = alias.split('.');
  if (labels.some((label) => label.length > 63)) return 'has a label of more than 63 characters';
  if (labels.includes('')) return 'has a "." with nothing before or behind it';
  if (!/^[a-zA-Z0-9_.-]+$/.test(alias)) return 'may hold only letters, digits, "_", "-" and "."';
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
