// Where on a node a published port is: at one address (`10.0.0.5`, `fd00::5`), or at every address for what comes in by one interface
// (`%eth1`, after the zones of RFC 4007 section 11 and as ss(8) writes it).
import { parseIp } from './address.ts';

/** As the end of a sentence that began with what was given. */
export const PLACE_RULE = 'is no address of a node, and no interface such as %eth1';

/** In its usual form; undefined when the text is neither. */
export function parsePlace(text: string): string | undefined {
  return isInterface(text) ? text : parseIp(text);
}

/** Of `%eth1` it is `eth1`; undefined for an address. */
export function interfaceOf(place: string): string | undefined {
  return place.startsWith('%') ? place.slice(1) : undefined;
}

/** `10.0.0.5:80`, `[fd00::5]:80`, `%eth1:80`. */
export function formatPlace(place: string, port: number): string {
  return place.includes(':') ? `[${place}]:${port}` : `${place}:${port}`;
}

/** 1 to 15 characters (IFNAMSIZ less the closing NUL), of those that the kernel allows in a name (dev_valid_name). */
function isInterface(text: string): boolean {
  return /^%(?!\.{1,2}$)[\w.@-]{1,15}$/.test(text);
}
