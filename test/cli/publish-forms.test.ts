// A port that is written in Docker's short form means the same on the command line and in a stack file.
import fc from 'fast-check';
import t from 'tap';
import { parsePublish } from '../../src/cli/publish-flag.ts';
import { CliError } from '../../src/cli/shell.ts';
import { readComposeFile } from '../../src/compose/compose-file.ts';

function onCommandLine(text: string): readonly string[] | 'refused' {
  try {
    return parsePublish('--publish', text).map(
      ({ HostIP = '', PublishedPort = '', TargetPort, Protocol, PublishMode }) =>
        [HostIP, PublishedPort, TargetPort, Protocol, PublishMode].join(' '),
    );
  } catch (error) {
    if (error instanceof CliError) return 'refused';
    throw error;
  }
}

function inFile(text: string): readonly string[] | 'refused' {
  const file = `services: {web: {ports: [${JSON.stringify(text)}]}}`;
  const read = readComposeFile({ file: 'x.yml', text: file, stack: 's', environment: {}, defaultDriver: 'local' });
  if (!read.ok) return 'refused';
  return (read.services[0]?.publish ?? []).map((port) =>
    [port.hostAddress ?? '', port.publishedPort ?? '', port.targetPort, port.protocol, port.mode].join(' '),
  );
}

t.test('what Docker takes', async (t) => {
  const table: Readonly<Record<string, readonly string[]>> = {
    '80': ['  80 tcp ingress'],
    '8080:80': [' 8080 80 tcp ingress'],
    '127.0.0.1:8080:80/udp': ['127.0.0.1 8080 80 udp ingress'],
    '127.0.0.1::80': ['127.0.0.1  80 tcp ingress'],
    '%eth1:8080:80': ['%eth1 8080 80 tcp ingress'],
    '[::1]:8080:80': ['::1 8080 80 tcp ingress'],
    '::1:8080:80': ['::1 8080 80 tcp ingress'],
    '8000-8001:9000-9001': [' 8000 9000 tcp ingress', ' 8001 9001 tcp ingress'],
  };
  for (const [text, expected] of Object.entries(table)) {
    t.same(onCommandLine(text), expected, text);
    t.same(inFile(text), expected, `${text} in a file`);
  }
});

t.test('any of its parts, good and bad', async () => {
  const address = fc.constantFrom(
    '',
    '127.0.0.1:',
    '0.0.0.0:',
    '[::1]:',
    'fd00::1:',
    '[fd00::1:',
    'host:',
    '%eth1:',
    '%:',
    '%..:',
    '%a-name-of-16-chrs:',
    '256.0.0.1:',
    ':',
  );
  const range = fc.constantFrom('80', '8080', '8000-8002', '8002-8000', '65535', '65536', '080', '1-2-3', 'x', '');
  const published = fc.oneof(
    fc.constant(''),
    range.map((one) => `${one}:`),
  );
  const protocol = fc.constantFrom('', '/tcp', '/udp', '/UDP', '/sctp', '/', '/x');
  fc.assert(
    fc.property(fc.tuple(address, published, range, protocol), (parts) => {
      const text = parts.join('');
      const [one, other] = [onCommandLine(text), inFile(text)].map((found) => JSON.stringify(found));
      if (one !== other) throw new Error(`${text}: ${one} on the command line, ${other} in a file`);
    }),
    { numRuns: 2000 },
  );
});
