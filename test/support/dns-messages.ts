// DNS messages for tests: written from a few words, read back as text, mutated.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { type Answer, type DecodedPacket, decode, encode, type RecordType, RECURSION_DESIRED } from 'dns-packet';

export interface QuestionOptions {
  readonly id?: number;
  /** Absent: no OPT record. */
  readonly edns?: { readonly size?: number; readonly version?: number; readonly dnssecOk?: boolean };
  readonly flags?: number;
}

/** `question('web', 'A')`: a client's message. */
export function question(name: string, type: RecordType, options: QuestionOptions = {}): Buffer {
  const { edns } = options;
  const opt: Answer[] =
    edns === undefined
      ? []
      : [
          {
            type: 'OPT',
            name: '.',
            udpPayloadSize: edns.size ?? 1232,
            extendedRcode: 0,
            ednsVersion: edns.version ?? 0,
            flags: edns.dnssecOk === true ? 0x8000 : 0,
            flag_do: edns.dnssecOk === true,
            options: [],
          },
        ];
  return encode({
    type: 'query',
    id: options.id ?? 0x1234,
    flags: options.flags ?? RECURSION_DESIRED,
    questions: [{ name, type }],
    additionals: opt,
  });
}

const RCODES = ['NOERROR', 'FORMERR', 'SERVFAIL', 'NXDOMAIN', 'NOTIMP', 'REFUSED'];

/** One line: `NOERROR aa | web A 10.64.0.2 | SOA . | + web.backend A 10.64.0.2`; the parts without records are left out. */
export function summary(message: Buffer): string {
  const packet = decode(message);
  const rcode = message.readUInt16BE(2) & 0xf;
  const flags = (['aa', 'tc'] as const).filter((flag) => packet[`flag_${flag}`]);
  const records = (packet.answers ?? []).map(recordText);
  const authority = (packet.authorities ?? []).map((record) => `${record.type} ${record.name}`);
  const additional = (packet.additionals ?? [])
    .filter(({ type }) => type !== 'OPT')
    .map((one) => `+ ${recordText(one)}`);
  const opt = optOf(packet);
  const status = [RCODES[rcode] ?? String(rcode), ...flags].join(' ');
  const edns = opt === undefined ? [] : [`OPT ${opt.udpPayloadSize}${opt.flag_do ? ' do' : ''}`];
  const extended = opt !== undefined && opt.extendedRcode > 0 ? [`extended ${opt.extendedRcode}`] : [];
  return [status, ...records, ...authority, ...additional, ...edns, ...extended].join(' | ');
}

export function addressesIn(message: Buffer): string[] {
  return (decode(message).answers ?? []).flatMap((record) => ('data' in record ? [String(record.data)] : []));
}

function recordText(record: Answer): string {
  if (record.type === 'SRV') {
    const { priority, weight, port, target } = record.data;
    return `${record.name} SRV ${priority} ${weight} ${port} ${target}`;
  }
  if (record.type === 'SOA') return `${record.name} SOA`;
  return 'data' in record ? `${record.name} ${record.type} ${String(record.data)}` : `${record.name} ${record.type}`;
}

function optOf(packet: DecodedPacket): Extract<Answer, { type: 'OPT' }> | undefined {
  return (packet.additionals ?? []).find((record) => record.type === 'OPT');
}

/** The messages of a file in test/corpus/dns by what they are. Tests run in the project's directory. */
export function corpus(file: string): ReadonlyMap<string, Buffer> {
  const messages = new Map<string, Buffer>();
  let title = '';
  for (const line of readFileSync(join(process.cwd(), 'test', 'corpus', 'dns', file), 'utf8').split('\n')) {
    if (line.startsWith('# ')) title = line.slice(2);
    else if (line.length > 0) messages.set(title, Buffer.from(line, 'hex'));
  }
  return messages;
}

/** Flips, inserts, removes, repeats or cuts bytes, one to four times. `unit` draws from [0, 1). */
export function mutate(message: Buffer, unit: () => number): Buffer {
  let bytes = Buffer.from(message);
  const draw = (below: number) => Math.floor(unit() * below);
  for (let i = 1 + draw(4); i > 0; i--) {
    const at = draw(bytes.length + 1);
    const [head, tail] = [bytes.subarray(0, at), bytes.subarray(at)];
    switch (draw(6)) {
      case 0:
        bytes = Buffer.concat([head, Buffer.from([draw(256)]), tail.subarray(1)]);
        break;
      case 1:
        bytes = Buffer.concat([
          head,
          Buffer.from([[0, 1, 0x3f, 0x40, 0x80, 0xc0, 0xff][draw(7)] ?? 0]),
          tail.subarray(1),
        ]);
        break;
      case 2:
        bytes = Buffer.concat([head, Buffer.from([draw(256)]), tail]);
        break;
      case 3:
        bytes = Buffer.concat([head, tail.subarray(draw(8))]);
        break;
      case 4:
        bytes = Buffer.concat([head, tail.subarray(0, draw(16)), tail]);
        break;
      default:
        bytes = Buffer.from(head);
    }
  }
  return bytes;
}

/** Behind the two length bytes of TCP. */
export function frame(message: Uint8Array): Buffer {
  const framed = Buffer.alloc(2 + message.length);
  framed.writeUInt16BE(message.length);
  framed.set(message, 2);
  return framed;
}
