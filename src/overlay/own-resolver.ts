// How programs in a container of a user-defined Docker network come to ask the embedded resolver. PURE.
//
// Docker leads what goes to 127.0.0.11:53 to another port of that address, by a rule in the container's namespace. One that runs
// before it sends the same packets to where they were going: a connection is translated once, so Docker's rule is not asked.
import { type IpAddress, parseSubnet, type Subnet } from '../model/address.ts';
import type { Rule } from '../netlink/nft-rule.ts';
import type { Ruleset } from '../netlink/nftables.ts';

/** Its name, in the container's own namespace. */
export const OWN_RESOLVER_TABLE = 'vipmesh-resolver';

const ADDRESS = '127.0.0.11' as IpAddress;
const ONLY_IT = parseSubnet(`${ADDRESS}/32`) as Subnet;
const PORT = 53;
/** -100 is `dstnat`, where Docker's rule is. */
const BEFORE_DOCKER = -110;
const IPPROTO = { udp: 17, tcp: 6 } as const;

export function ownResolverRules(): Ruleset {
  return {
    chains: [
      {
        name: 'output',
        type: 'nat',
        hook: 'output',
        priority: BEFORE_DOCKER,
        rules: [toUs(IPPROTO.udp), toUs(IPPROTO.tcp)],
      },
    ],
  };
}

function toUs(protocol: number): Rule {
  return {
    when: [
      { kind: 'destination', subnet: ONLY_IT },
      { kind: 'is', field: { kind: 'protocol' }, value: [protocol] },
      { kind: 'is', field: { kind: 'bytes', header: 'transport', offset: 2, length: 2 }, value: [0, PORT] },
    ],
    verdict: { address: ADDRESS, port: PORT },
  };
}
