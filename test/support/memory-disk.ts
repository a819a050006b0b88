// Where a copy of the last known state lies in tests: in memory, so that a test can damage, fill and lose it.
import type { CopyDisk, CopyFile } from '../../src/store/copy-disk.ts';

export class MemoryDisk implements CopyDisk {
  readonly path = 'memory/last-known';
  content: Buffer | undefined;
  /** What everything that writes fails with; half of what was to be written is there then, as on a disk that has become full. */
  failure: Error | undefined;
  /** How many copies were begun. */
  created = 0;
  /** Resolves before each write is done; to be replaced by what a test wants to wait for. */
  beforeWrite: () => Promise<void> = async () => {};

  /** As the next process finds it, whatever this one still does. */
  afterEnd(): MemoryDisk {
    const disk = new MemoryDisk();
    disk.content = this.content;
    disk.failure = this.failure;
    return disk;
  }

  async *read(): AsyncIterable<Buffer> {
    const { content = Buffer.alloc(0) } = this;
    for (let at = 0; at < content.length; at += 1000) yield content.subarray(at, at + 1000);
  }

  async create(): Promise<CopyFile> {
    this.created++;
    let fresh = Buffer.alloc(0);
    let isFinished = false;
    return {
      append: async (lines) => {
        await this.beforeWrite();
        if (isFinished) return this.#append(lines);
        if (this.failure !== undefined) throw this.failure;
        fresh = Buffer.concat([fresh, ...lines]);
      },
      finish: async () => {
        this.content = fresh;
        isFinished = true;
      },
      close: async () => {},
    };
  }

  async resume(length: number): Promise<CopyFile> {
    this.content = this.content?.subarray(0, length);
    return { append: async (lines) => this.#append(lines), finish: async () => {}, close: async () => {} };
  }

  #append(lines: readonly Buffer[]): void {
    const all = Buffer.concat([...lines]);
    const written = this.failure === undefined ? all : all.subarray(0, all.length >> 1);
    this.content = Buffer.concat([this.content ?? Buffer.alloc(0), written]);
    if (this.failure !== undefined) throw this.failure;
  }
}
