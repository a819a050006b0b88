// The encoding of instructions against RFC 9669, and the sk_lookup program's shape.
import t from 'tap';
import { Assembler } from '../../src/native/bpf.ts';
import { assembleProgram } from '../../src/native/sk-lookup.ts';

const hex = (program: Assembler): string =>
  program
    .assemble()
    .toString('hex')
    .replace(/.{16}(?=.)/g, '$& ');

t.test('instructions: code, registers, offset, constant', async (t) => {
  t.equal(hex(new Assembler().set(0, 1).exit()), 'b700000001000000 9500000000000000');
  t.equal(hex(new Assembler().move(6, 1)), 'bf16000000000000');
  t.equal(hex(new Assembler().add(2, -16)), '07020000f0ffffff');
  t.equal(hex(new Assembler().load(4, 2, 6, 8)), '6162080000000000');
  t.equal(hex(new Assembler().store(4, 10, -4, 2)), '632afcff00000000');
  t.equal(hex(new Assembler().storeConstant(8, 10, -16, 0)), '7a0af0ff00000000');
  t.equal(
    hex(new Assembler().loadMap(1, 5)),
    '1811000005000000 0000000000000000',
    'two places, the map by its descriptor',
  );
  t.equal(hex(new Assembler().call(124)), '850000007c000000');
});

t.test('jumps go to labels before and after them', async (t) => {
  const program = new Assembler().label('top').jumpIf('eq', 0, 7, 'end').jump('top').label('end').exit();
  t.equal(hex(program), '1500010007000000 0500feff00000000 9500000000000000');
  t.throws(() => new Assembler().jump('nowhere').assemble(), /"nowhere" is not set/);
  t.throws(() => new Assembler().label('a').label('a'), /set twice/);
});

t.test(
  'the program grows by the workers, and stays far below the 4096 instructions that any kernel takes',
  async (t) => {
    const size = (workers: number) => assembleProgram(3, 4, 15001, workers).length / 8;
    t.equal(size(2) - size(1), 9);
    t.ok(size(256) < 4096);
  },
);
