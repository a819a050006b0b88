// What Docker Engine 20.10.24 (API 1.41) printed for the commands of session.test.ts: `service inspect` of three services (with
// the status that `service ls` asks for), `network inspect` of a network of one node, `node inspect` (its plugins and certificates
// left out) and `events`, one of each kind. Times of events are rounded to what a JavaScript number holds.

export const RECORDED = {
  vipsvc: {
    ID: '5d1hjnfqnpazrr4wh8bjdmclp',
    Version: {
      Index: 770,
    },
    CreatedAt: '2026-11-20T22:45:03.100538659Z',
    UpdatedAt: '2026-11-20T22:45:03.101541454Z',
    Spec: {
      Name: 'vipsvc',
      Labels: {
        team: 'x',
      },
      TaskTemplate: {
        ContainerSpec: {
          Image: 'httpd:1',
          Init: false,
          DNSConfig: {},
          Isolation: 'default',
        },
        Resources: {
          Limits: {},
          Reservations: {},
        },
        Placement: {},
        Networks: [
          {
            Target: 'mvg9v7l4cgj2nc2vhq63as0qi',
            Aliases: ['vipalias'],
          },
        ],
        ForceUpdate: 0,
        Runtime: 'container',
      },
      Mode: {
        Replicated: {
          Replicas: 3,
        },
      },
      EndpointSpec: {
        Mode: 'vip',
        Ports: [
          {
            Protocol: 'tcp',
            TargetPort: 80,
            PublishedPort: 8081,
            PublishMode: 'ingress',
          },
          {
            Protocol: 'udp',
            TargetPort: 53,
            PublishedPort: 5353,
            PublishMode: 'ingress',
          },
        ],
      },
    },
    Endpoint: {
      Spec: {
        Mode: 'vip',
        Ports: [
          {
            Protocol: 'tcp',
            TargetPort: 80,
            PublishedPort: 8081,
            PublishMode: 'ingress',
          },
          {
            Protocol: 'udp',
            TargetPort: 53,
            PublishedPort: 5353,
            PublishMode: 'ingress',
          },
        ],
      },
      Ports: [
        {
          Protocol: 'tcp',
          TargetPort: 80,
          PublishedPort: 8081,
          PublishMode: 'ingress',
        },
        {
          Protocol: 'udp',
          TargetPort: 53,
          PublishedPort: 5353,
          PublishMode: 'ingress',
        },
      ],
      VirtualIPs: [
        {
          NetworkID: 'isob1d2gbj3xtql0x5iqekadx',
          Addr: '10.0.0.14/24',
        },
        {
          NetworkID: 'mvg9v7l4cgj2nc2vhq63as0qi',
          Addr: '10.220.0.65/24',
        },
      ],
    },
    ServiceStatus: {
      RunningTasks: 3,
      DesiredTasks: 3,
      CompletedTasks: 0,
    },
  },
  hostpub: {
    ID: 'od72ys9we6c5cf4a9o8srvpyc',
    Version: {
      Index: 778,
    },
    CreatedAt: '2026-11-20T22:45:03.168265422Z',
    UpdatedAt: '2026-11-20T22:45:03.169513808Z',
    Spec: {
      Name: 'hostpub',
      Labels: {},
      TaskTemplate: {
        ContainerSpec: {
          Image: 'httpd:1',
          Init: false,
          DNSConfig: {},
          Isolation: 'default',
        },
        Resources: {
          Limits: {},
          Reservations: {},
        },
        Placement: {},
        Networks: [
          {
            Target: 'mvg9v7l4cgj2nc2vhq63as0qi',
          },
        ],
        ForceUpdate: 0,
        Runtime: 'container',
      },
      Mode: {
        Global: {},
      },
      EndpointSpec: {
        Mode: 'vip',
        Ports: [
          {
            Protocol: 'tcp',
            TargetPort: 80,
            PublishedPort: 8083,
            PublishMode: 'host',
          },
        ],
      },
    },
    Endpoint: {
      Spec: {
        Mode: 'vip',
        Ports: [
          {
            Protocol: 'tcp',
            TargetPort: 80,
            PublishedPort: 8083,
            PublishMode: 'host',
          },
        ],
      },
      Ports: [
        {
          Protocol: 'tcp',
          TargetPort: 80,
          PublishedPort: 8083,
          PublishMode: 'host',
        },
      ],
      VirtualIPs: [
        {
          NetworkID: 'mvg9v7l4cgj2nc2vhq63as0qi',
          Addr: '10.220.0.71/24',
        },
      ],
    },
    ServiceStatus: {
      RunningTasks: 2,
      DesiredTasks: 2,
      CompletedTasks: 0,
    },
  },
  rrsvc: {
    ID: 'rvngd76g125qxhklvvr1vu65s',
    Version: {
      Index: 773,
    },
    CreatedAt: '2026-11-20T22:45:03.134164394Z',
    UpdatedAt: '2026-11-20T22:45:03.134164394Z',
    Spec: {
      Name: 'rrsvc',
      Labels: {},
      TaskTemplate: {
        ContainerSpec: {
          Image: 'httpd:1',
          Init: false,
          DNSConfig: {},
          Isolation: 'default',
        },
        Resources: {
          Limits: {},
          Reservations: {},
        },
        Placement: {},
        Networks: [
          {
            Target: 'mvg9v7l4cgj2nc2vhq63as0qi',
          },
        ],
        ForceUpdate: 0,
        Runtime: 'container',
      },
      Mode: {
        Replicated: {
          Replicas: 2,
        },
      },
      EndpointSpec: {
        Mode: 'dnsrr',
      },
    },
    Endpoint: {
      Spec: {},
    },
    ServiceStatus: {
      RunningTasks: 2,
      DesiredTasks: 2,
      CompletedTasks: 0,
    },
  },
  network: {
    Name: 'evnet',
    Id: 'f06097f5f72b97585a3cd37c83839ed1e612edb6434a3c99fefc9c943291aa51',
    Created: '2026-11-20T22:24:06.804465991Z',
    Scope: 'local',
    Driver: 'bridge',
    EnableIPv6: false,
    IPAM: {
      Driver: 'default',
      Options: {},
      Config: [
        {
          Subnet: '10.207.0.0/24',
        },
      ],
    },
    Internal: false,
    Attachable: false,
    Ingress: false,
    ConfigFrom: {
      Network: '',
    },
    ConfigOnly: false,
    Containers: {
      cf1fdf7a2d6060c94e3a8b00b746becb1aead67ac47db9f221605531d0ca744c: {
        Name: 'h1b',
        EndpointID: 'd25821f0353d1f106c9d6205a952aeb77e47c01ef2573e54f212bdb9d3a5b514',
        MacAddress: '02:42:0a:cf:00:02',
        IPv4Address: '10.207.0.2/24',
        IPv6Address: '',
      },
    },
    Options: {},
    Labels: {
      lab: '1',
    },
  },
  node: {
    ID: '2l0l7ntuui65wh1i7xcdmd74y',
    Version: {
      Index: 735,
    },
    CreatedAt: '2026-11-20T22:33:41.790428675Z',
    UpdatedAt: '2026-11-20T22:44:22.427930339Z',
    Spec: {
      Labels: {},
      Role: 'manager',
      Availability: 'active',
    },
    Description: {
      Hostname: 'labA',
      Platform: {
        Architecture: 'x86_64',
        OS: 'linux',
      },
      Resources: {
        NanoCPUs: 2000000000,
        MemoryBytes: 25276502016,
      },
      Engine: {
        EngineVersion: '20.10.24+dfsg1',
      },
    },
    Status: {
      State: 'ready',
      Addr: '10.99.0.11',
    },
    ManagerStatus: {
      Leader: true,
      Reachability: 'reachable',
      Addr: '10.99.0.11:2377',
    },
  },
  events: [
    {
      Type: 'service',
      Action: 'create',
      Actor: {
        ID: 'u27jwyjojdk4fsfydwg5m3wkq',
        Attributes: {
          name: 'rrsvc',
        },
      },
      scope: 'swarm',
      time: 1795214031,
      timeNano: 1795214031451000000,
    },
    {
      Type: 'service',
      Action: 'update',
      Actor: {
        ID: 's3zvu7mv0ooeextc8uxxa5baf',
        Attributes: {
          name: 'hsvc',
        },
      },
      scope: 'swarm',
      time: 1795214031,
      timeNano: 1795214031476000000,
    },
    {
      Type: 'service',
      Action: 'update',
      Actor: {
        ID: 'u27jwyjojdk4fsfydwg5m3wkq',
        Attributes: {
          name: 'rrsvc',
          'replicas.new': '5',
          'replicas.old': '3',
        },
      },
      scope: 'swarm',
      time: 1795214044,
      timeNano: 1795214044831000000,
    },
    {
      Type: 'service',
      Action: 'remove',
      Actor: {
        ID: 'jepv1hqz2k9g73wzp2kc718ok',
        Attributes: {
          name: 'vipsvc',
        },
      },
      scope: 'swarm',
      time: 1795214085,
      timeNano: 1795214085152000000,
    },
    {
      Type: 'network',
      Action: 'create',
      Actor: {
        ID: 'f06097f5f72b97585a3cd37c83839ed1e612edb6434a3c99fefc9c943291aa51',
        Attributes: {
          name: 'evnet',
          type: 'bridge',
        },
      },
      scope: 'local',
      time: 1795213446,
      timeNano: 1795213446907000000,
    },
    {
      Type: 'network',
      Action: 'destroy',
      Actor: {
        ID: 'f06097f5f72b97585a3cd37c83839ed1e612edb6434a3c99fefc9c943291aa51',
        Attributes: {
          name: 'evnet',
          type: 'bridge',
        },
      },
      scope: 'local',
      time: 1795213462,
      timeNano: 1795213462925000000,
    },
  ],
};
