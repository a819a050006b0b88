// PURE: Docker's request for a network → our NetworkSpec.
import type { z } from 'zod';
import { ipVersion, parseIp, parseSubnet, type Subnet, subnetRange } from '../model/address.ts';
import { gatewayOf, type NetworkDriver, type NetworkSpec } from '../model/network.ts';
import { ApiError } from './errors.ts';
import type { networkCreateRequest } from './requests.ts';

export type ParsedNetworkRequest = z.infer<typeof networkCreateRequest>;

/** Throws ApiError BAD_REQUEST or NOT_SUPPORTED. */
export function networkSpecOf(request: ParsedNetworkRequest, defaultDriver: NetworkDriver): NetworkSpec {
  const { Name } = request;
  if (request.Ingress === true)
    throw notSupported(Name, 'vipmesh needs no ingress network; published ports work without one');
  if (request.ConfigOnly === true || (request.ConfigFrom?.Network ?? '') !== '')
    throw notSupported(Name, 'vipmesh has no networks that are only configuration');
  if (request.EnableIPv4 === false) throw notSupported(Name, 'vipmesh has no networks without IPv4');
  const subnets = subnetsOf(request);
  return {
    name: Name,
    driver: driverOf(request, defaultDriver),
    subnets,
    ipv6: request.EnableIPv6 === true || subnets.some((subnet) => ipVersion(subnet) === 6),
    internal: request.Internal === true,
    attachable: request.Attachable === true,
    labels: request.Labels ?? {},
    options: request.Options ?? {},
  };
}

/** Docker's client says `bridge` when its user says nothing, so that means the default here, as in stack files. */
export function networkRequestWarning({ Name, Driver }: ParsedNetworkRequest, made: NetworkDriver): string {
  return Driver === 'bridge' ? `network ${Name} is of the driver ${made}, since vipmesh makes no bridge networks` : '';
}

function driverOf({ Name, Driver, Scope }: ParsedNetworkRequest, defaultDriver: NetworkDriver): NetworkDriver {
  switch (Driver ?? '') {
    case 'overlay':
      return 'overlay';
    case 'local':
      return 'local';
    case '':
    case 'default':
    case 'bridge':
      return Scope === 'swarm' ? 'overlay' : defaultDriver;
    default:
      throw notSupported(Name, `vipmesh has no networks of the driver ${Driver}; it is overlay or local`);
  }
}

function subnetsOf({ Name, IPAM }: ParsedNetworkRequest): readonly Subnet[] {
  const driver = IPAM?.Driver ?? '';
  if (driver !== '' && driver !== 'default')
    throw notSupported(Name, `vipmesh gives out addresses itself and has no IPAM driver ${driver}`);
  return (IPAM?.Config ?? []).flatMap((config) => {
    if ((config.IPRange ?? '') !== '')
      throw notSupported(
        Name,
        'vipmesh gives out all addresses of a subnet; leave the IP range out, or give a smaller subnet',
      );
    if (Object.keys(config.AuxiliaryAddresses ?? {}).length > 0)
      throw notSupported(Name, 'vipmesh keeps no auxiliary addresses free');
    const text = config.Subnet ?? '';
    const gateway = config.Gateway ?? '';
    if (text === '' && gateway === '') return [];
    const subnet = parseSubnet(text);
    if (subnet === undefined)
      throw new ApiError('BAD_REQUEST', `network ${Name}: ${JSON.stringify(text)} is no subnet such as 10.64.7.0/24`);
    // A subnet of one address has no gateway; control says what is wrong with it.
    const own = subnetRange(subnet).size > 1n ? gatewayOf(subnet) : undefined;
    if (gateway !== '' && own !== undefined && parseIp(gateway) !== own)
      throw notSupported(Name, `the gateway of ${subnet} is ${own} and cannot be another address`);
    return [subnet];
  });
}

function notSupported(name: string, why: string): ApiError {
  return new ApiError('NOT_SUPPORTED', `network ${name}: ${why}`);
}
