// T11. What is expected stands here byte by byte, as proxy-protocol.txt sections 2.1 and 2.2 have it.
import t from 'tap';
import { ownHeader, proxyHeader } from '../../src/balancer/proxy-protocol.ts';
import { SOCKADDR_BYTES, writeSockaddr } from '../../src/native/sockaddr.ts';

function sockaddr(address: string, port: number, mapped = false): Buffer {
  const bytes = Buffer.alloc(SOCKADDR_BYTES);
  writeSockaddr(bytes, 0, address, port, mapped);
  return bytes;
}

const SIGNATURE = '0d0a0d0a000d0a515549540a';
const V4 = [sockaddr('192.0.2.7', 51234), sockaddr('198.51.100.1', 443)] as const;
const MAPPED = [sockaddr('192.0.2.7', 51234, true), sockaddr('198.51.100.1', 443, true)] as const;
const V6 = [sockaddr('2001:db8::7', 51234), sockaddr('2001:db8::1', 443)] as const;
const MIXED = [sockaddr('192.0.2.7', 51234), sockaddr('2001:db8::1', 443)] as const;

t.test('version 1', async (t) => {
  const line = 'PROXY TCP4 192.0.2.7 198.51.100.1 51234 443\r\n';
  t.equal(proxyHeader('v1', ...V4).toString(), line);
  t.equal(proxyHeader('v1', ...MAPPED).toString(), line, 'a dual-stack socket makes no difference');
  t.equal(proxyHeader('v1', ...V6).toString(), 'PROXY TCP6 2001:db8::7 2001:db8::1 51234 443\r\n');
  t.equal(proxyHeader('v1', ...MIXED).toString(), 'PROXY TCP6 ::ffff:192.0.2.7 2001:db8::1 51234 443\r\n');
  t.equal(ownHeader('v1').toString(), 'PROXY UNKNOWN\r\n');
});

t.test('version 2', async (t) => {
  const ipv4 = `${SIGNATURE}2111000cc0000207c6336401c82201bb`;
  t.equal(proxyHeader('v2', ...V4).toString('hex'), ipv4);
  t.equal(proxyHeader('v2', ...MAPPED).toString('hex'), ipv4);
  const [seven, one] = ['20010db8000000000000000000000007', '20010db8000000000000000000000001'];
  t.equal(proxyHeader('v2', ...V6).toString('hex'), `${SIGNATURE}21210024${seven}${one}c82201bb`);
  const mapped = '00000000000000000000ffffc0000207';
  t.equal(proxyHeader('v2', ...MIXED).toString('hex'), `${SIGNATURE}21210024${mapped}${one}c82201bb`);
  t.equal(ownHeader('v2').toString('hex'), `${SIGNATURE}20000000`);
});
