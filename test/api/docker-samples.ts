// What Docker Engine 20.10.24 (API 1.41, two nodes in swarm mode) answered, one object of each kind: GET /services?status=true,
// /tasks, /networks/ID?verbose=true, /nodes, /version, /info. Certificates, plugin lists and repetitions are left out; the
// health check and the port status are those of other objects of the same engine.

export const DOCKER = {
  service: {
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
          Healthcheck: {
            Test: ['CMD-SHELL', 'test -f /tmp/ok'],
            Interval: 1000000000,
            Timeout: 1000000000,
            Retries: 2,
          },
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
  task: {
    ID: '2xpf5et2ww1rkb5aco5f0e1nv',
    Version: {
      Index: 790,
    },
    CreatedAt: '2026-11-20T22:45:03.103805464Z',
    UpdatedAt: '2026-11-20T22:45:04.855945133Z',
    Labels: {},
    Spec: {
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
    },
    ServiceID: '5d1hjnfqnpazrr4wh8bjdmclp',
    Slot: 2,
    NodeID: 'e3wawggcatpdglxnjji8czkru',
    Status: {
      Timestamp: '2026-11-20T22:45:04.81181694Z',
      State: 'running',
      Message: 'started',
      ContainerStatus: {
        ContainerID: 'a8e20b078fe140ce360d6f3d5f0100be7866d210d8be2150101281c2f20e832e',
        PID: 3761,
        ExitCode: 0,
      },
      PortStatus: { Ports: [{ Protocol: 'tcp', TargetPort: 80, PublishedPort: 8083, PublishMode: 'host' }] },
    },
    DesiredState: 'running',
    NetworksAttachments: [
      {
        Network: {
          ID: 'isob1d2gbj3xtql0x5iqekadx',
          Version: {
            Index: 6,
          },
          CreatedAt: '2026-11-20T22:33:41.790469228Z',
          UpdatedAt: '2026-11-20T22:33:41.828100562Z',
          Spec: {
            Name: 'ingress',
            Labels: {},
            DriverConfiguration: {},
            Ingress: true,
            IPAMOptions: {
              Driver: {},
            },
            Scope: 'swarm',
          },
          DriverState: {
            Name: 'overlay',
            Options: {
              'com.docker.network.driver.overlay.vxlanid_list': '4096',
            },
          },
          IPAMOptions: {
            Driver: {
              Name: 'default',
            },
            Configs: [
              {
                Subnet: '10.0.0.0/24',
                Gateway: '10.0.0.1',
              },
            ],
          },
        },
        Addresses: ['10.0.0.16/24'],
      },
      {
        Network: {
          ID: 'mvg9v7l4cgj2nc2vhq63as0qi',
          Version: {
            Index: 17,
          },
          CreatedAt: '2026-11-20T22:33:42.806388795Z',
          UpdatedAt: '2026-11-20T22:33:42.807144091Z',
          Spec: {
            Name: 'ov1',
            Labels: {},
            DriverConfiguration: {
              Name: 'overlay',
            },
            Attachable: true,
            IPAMOptions: {
              Driver: {
                Name: 'default',
              },
              Configs: [
                {
                  Subnet: '10.220.0.0/24',
                  Gateway: '10.220.0.1',
                },
              ],
            },
            Scope: 'swarm',
          },
          DriverState: {
            Name: 'overlay',
            Options: {
              'com.docker.network.driver.overlay.vxlanid_list': '4097',
            },
          },
          IPAMOptions: {
            Driver: {
              Name: 'default',
            },
            Configs: [
              {
                Subnet: '10.220.0.0/24',
                Gateway: '10.220.0.1',
              },
            ],
          },
        },
        Addresses: ['10.220.0.67/24'],
      },
    ],
  },
  network: {
    Name: 'ov1',
    Id: 'mvg9v7l4cgj2nc2vhq63as0qi',
    Created: '2026-11-20T22:33:43.01512874Z',
    Scope: 'swarm',
    Driver: 'overlay',
    EnableIPv6: false,
    IPAM: {
      Driver: 'default',
      Options: null,
      Config: [
        {
          Subnet: '10.220.0.0/24',
          Gateway: '10.220.0.1',
        },
      ],
    },
    Internal: false,
    Attachable: true,
    Ingress: false,
    ConfigFrom: {
      Network: '',
    },
    ConfigOnly: false,
    Containers: {
      '351da5e03647fda614ab3c054393e1160bd46870a0f4f50c4e5c9c783d6462e3': {
        Name: 'rrsvc.1.k5y1hluv6gx4l6c4790pchfav',
        EndpointID: '3211ebd6dcfacc38d33b3f8b7df6cacdab78dc9f0b2cbc2f48251160dc21f44b',
        MacAddress: '02:42:0a:dc:00:45',
        IPv4Address: '10.220.0.69/24',
        IPv6Address: '',
      },
    },
    Options: {
      'com.docker.network.driver.overlay.vxlanid_list': '4097',
    },
    Labels: { lab: '1' },
    Peers: [
      {
        Name: 'ed357434ccb7',
        IP: '10.99.0.11',
      },
      {
        Name: '76e2c19f1722',
        IP: '10.99.0.12',
      },
    ],
    Services: {
      vipsvc: {
        VIP: '10.220.0.65',
        Ports: [],
        LocalLBIndex: 263,
        Tasks: [
          {
            Name: 'vipsvc.3.cbt48m0ou8vz528xyg174bnqb',
            EndpointID: 'b0282ff2c754340d1bb5405fbde7c2a8e675db129e5b3fc9bbc6d773dd42a43c',
            EndpointIP: '10.220.0.68',
            Info: {
              'Host IP': '10.99.0.12',
            },
          },
        ],
      },
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
  version: {
    Platform: {
      Name: '',
    },
    Components: [
      {
        Name: 'Engine',
        Version: '20.10.24+dfsg1',
        Details: {
          ApiVersion: '1.41',
          Arch: 'amd64',
          BuildTime: '2026-05-07T21:09:36.000000000+00:00',
          Experimental: 'false',
          GitCommit: '5d6db84',
          GoVersion: 'go1.19.8',
          KernelVersion: '6.18.44-fc-v669',
          MinAPIVersion: '1.12',
          Os: 'linux',
        },
      },
    ],
    Version: '20.10.24+dfsg1',
    ApiVersion: '1.41',
    MinAPIVersion: '1.12',
    GitCommit: '5d6db84',
    GoVersion: 'go1.19.8',
    Os: 'linux',
    Arch: 'amd64',
    KernelVersion: '6.18.44-fc-v669',
    BuildTime: '2026-05-07T21:09:36.000000000+00:00',
  },
  info: {
    ID: 'Q6WB:747G:S44A:L57J:ZZ2O:6WSY:4BU2:PKRL:FYET:CCUK:YBNC:577J',
    Name: 'labA',
    ServerVersion: '20.10.24+dfsg1',
    Swarm: {
      NodeID: '2l0l7ntuui65wh1i7xcdmd74y',
      NodeAddr: '10.99.0.11',
      LocalNodeState: 'active',
      ControlAvailable: true,
      Error: '',
      RemoteManagers: [
        {
          NodeID: '2l0l7ntuui65wh1i7xcdmd74y',
          Addr: '10.99.0.11:2377',
        },
      ],
      Nodes: 2,
      Managers: 1,
    },
    CgroupDriver: 'cgroupfs',
    CgroupVersion: '1',
    KernelVersion: '6.18.44-fc-v669',
  },
} as const;
