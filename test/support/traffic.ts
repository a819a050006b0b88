// What a data path might carry.
import type { ConnectionListing, TrafficReading } from '../../src/api/status-schema.ts';

export const CONNECTIONS: ConnectionListing['Connections'] = [
  {
    Service: 'shop_web',
    Protocol: 'tcp',
    Client: '192.0.2.7:40000',
    Frontend: '192.0.2.1:8080',
    Endpoint: '10.64.0.5:80',
    Task: 'shop_web.1',
    AgeMs: 3_725_400,
    BytesToEndpoint: 999,
    BytesToClient: 1_234_567,
    State: 'open',
    Worker: 1,
  },
  {
    Service: '',
    Protocol: 'tcp',
    Client: '[2001:db8::7]:40001',
    Frontend: '[2001:db8::1]:8080',
    AgeMs: 250,
    BytesToEndpoint: 0,
    BytesToClient: 0,
    State: 'connecting',
    Worker: 0,
  },
];

/** A service of one endpoint, `seconds` after the agent began to count: each second brings the same. */
export function trafficAfter(seconds: number): TrafficReading {
  const counted = {
    Open: 7,
    Total: 20 * seconds,
    Failures: seconds,
    BytesToClient: 1_500_000 * seconds,
    BytesToEndpoint: 2000 * seconds,
  };
  const endpoint = {
    Task: 'shop_web.1',
    Network: 'shop_default',
    Address: '10.64.0.5',
    Eligible: true,
    Ejected: false,
  };
  return {
    AtMs: 1000 * seconds,
    Services: [{ Name: 'shop_web', ...counted, Refused: 0, Endpoints: [{ ...endpoint, ...counted }] }],
  };
}
