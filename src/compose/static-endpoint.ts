// Endpoints that something else serves, as users write them.
import { type IpAddress, parseIp } from '../model/address.ts';
import { parsePort } from '../model/port.ts';
import type { StaticEndpoint } from '../model/service.ts';

/** `ADDRESS`, `ADDRESS:PORT` or `TARGET=ADDRESS:PORT`, IPv6 with a port in brackets; else why it is none. */
export function parseStaticEndpoint(text: string): StaticEndpoint | string {
  const [, targetText, rest = ''] = /^(?:([^=]*)=)?(.*)$/s.exec(text) ?? [];
  const targetPort = targetText === undefined ? undefined : parsePort(targetText);
  if (targetText !== undefined && targetPort === undefined) return 'has no port of 1 to 65535 before "="';
  const whole = parseIp(rest.replace(/^\[(.*)\]$/, '$1'));
  if (whole !== undefined) {
    const problem = addressProblem(whole);
    if (problem !== undefined) return problem;
    return targetPort === undefined ? { address: whole } : 'has no port behind the address; write TARGET=ADDRESS:PORT';
  }
  const [, bracketed, bare, portText = ''] = /^(?:\[([^\]]*)\]|([^:]*)):([^:]*)$/.exec(rest) ?? [];
  const address = parseIp(bracketed ?? bare ?? '');
  if (address === undefined) return notAnAddress(bracketed ?? bare ?? rest);
  const problem = addressProblem(address);
  if (problem !== undefined) return problem;
  const port = parsePort(portText);
  if (port === undefined) return `has no port of 1 to 65535 behind ":"`;
  return { address, port, ...(targetPort === undefined ? {} : { targetPort }) };
}

function notAnAddress(text: string): string {
  if (/^[a-zA-Z_][a-zA-Z0-9_.-]*$/.test(text)) {
    return 'has a host name; an endpoint is an IP address, because nobody would notice when a name begins to mean another';
  }
  return 'is no ADDRESS, ADDRESS:PORT or TARGET=ADDRESS:PORT (IPv6 with a port: [ADDRESS]:PORT)';
}

/** Addresses that no task can serve on. */
function addressProblem(address: IpAddress): string | undefined {
  const first = Number.parseInt(address, 10);
  if (address === '0.0.0.0' || address === '::')
    return 'means every address of a node; write the one that the task listens on';
  if (
    address === '255.255.255.255' ||
    (!address.includes(':') && first >= 224 && first < 240) ||
    /^ff..:/.test(address)
  ) {
    return 'is a multicast or broadcast address, which no connection can go to';
  }
  return undefined;
}
