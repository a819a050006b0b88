// What the numbers were measured on.
import { readFileSync } from 'node:fs';
import { availableParallelism, cpus, release, totalmem } from 'node:os';

export function describeMachine(): readonly string[] {
  const model = cpus()[0]?.model.trim() ?? '';
  const name = /^PRETTY_NAME="(.*)"$/m.exec(readFileSync('/etc/os-release', 'utf8'))?.[1] ?? 'unknown system';
  const memory = Math.round(totalmem() / 2 ** 30);
  return [
    `${availableParallelism()} CPUs${model === '' || model === 'unknown' ? '' : ` (${model})`}, ${memory} GiB`,
    `Linux ${release()}, ${name}`,
    `Node.js ${process.versions.node}`,
  ];
}
