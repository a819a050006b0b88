// What people call the numbers and names of messages. PURE.

/** IANA's names of those that are in common use. */
const TYPES: Readonly<Record<number, string>> = {
  1: 'A',
  2: 'NS',
  5: 'CNAME',
  6: 'SOA',
  12: 'PTR',
  13: 'HINFO',
  15: 'MX',
  16: 'TXT',
  28: 'AAAA',
  29: 'LOC',
  33: 'SRV',
  35: 'NAPTR',
  39: 'DNAME',
  43: 'DS',
  44: 'SSHFP',
  46: 'RRSIG',
  47: 'NSEC',
  48: 'DNSKEY',
  50: 'NSEC3',
  52: 'TLSA',
  64: 'SVCB',
  65: 'HTTPS',
  255: 'ANY',
  257: 'CAA',
};
const RCODES: Readonly<Record<number, string>> = {
  0: 'NOERROR',
  1: 'FORMERR',
  2: 'SERVFAIL',
  3: 'NXDOMAIN',
  4: 'NOTIMP',
  5: 'REFUSED',
  16: 'BADVERS',
};

/** `A`, `AAAA`, …, `TYPE65280` (RFC 3597 section 5). */
export function typeName(type: number): string {
  return TYPES[type] ?? `TYPE${type}`;
}

export function rcodeName(rcode: number): string {
  return RCODES[rcode] ?? `RCODE${rcode}`;
}

/**
 * A name that stands as on the wire, a character a byte, from `from` on: as people write it (RFC 1035 section 5.1), without the
 * final dot; the root is `.`.
 */
export function writtenName(wire: string, from = 0): string {
  const labels: string[] = [];
  for (let at = from; wire.charCodeAt(at) > 0; at += 1 + wire.charCodeAt(at)) {
    const label = wire.slice(at + 1, at + 1 + wire.charCodeAt(at));
    labels.push(
      label.replace(/[^!-~]|[."\\;@$()]/g, (char) =>
        char > ' ' && char < '\x7f' ? `\\${char}` : `\\${String(char.charCodeAt(0)).padStart(3, '0')}`,
      ),
    );
  }
  return labels.length === 0 ? '.' : labels.join('.');
}
