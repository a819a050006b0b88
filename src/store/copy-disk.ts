// Where the copy of the last known state lies. Tests have one in memory, to fail on demand.
import { createReadStream } from 'node:fs';
import { type FileHandle, open, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { makeDirectory } from '../runtime/directory.ts';

/** Everything rejects as node:fs does. */
export interface CopyDisk {
  /** What log lines and problems call it. */
  readonly path: string;
  /** The pieces of the copy in order, each at most some 100 KB; none when there is no copy. */
  read(): AsyncIterable<Buffer>;
  /** A new copy, which is none until it was `finish`ed. */
  create(): Promise<CopyFile>;
  /** Goes on with the copy that is there, of which so many bytes are whole. */
  resume(length: number): Promise<CopyFile>;
}

export interface CopyFile {
  /** Not yet safe against the end of the machine when it resolves, but against that of the process. */
  append(lines: readonly Buffer[]): Promise<void>;
  /** It is on the disk and has taken the place of the copy before when this resolves. */
  finish(): Promise<void>;
  /** A new copy that was not finished is removed. */
  close(): Promise<void>;
}

/** The file `last-known` in a directory that is made, 0700, when it is not there. */
export class CopyDirectory implements CopyDisk {
  readonly path: string;
  readonly #directory: string;

  constructor(directory: string) {
    this.#directory = directory;
    this.path = join(directory, 'last-known');
  }

  async *read(): AsyncIterable<Buffer> {
    try {
      for await (const piece of createReadStream(this.path)) yield piece as Buffer;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
    }
  }

  async create(): Promise<CopyFile> {
    makeDirectory(this.#directory, 0o700);
    const temporary = `${this.path}.new`;
    await rm(temporary, { force: true });
    return new OpenCopy(await open(temporary, 'wx', 0o600), temporary, this.path);
  }

  async resume(length: number): Promise<CopyFile> {
    const handle = await open(this.path, 'a');
    try {
      await handle.chmod(0o600);
      await handle.truncate(length);
    } catch (error) {
      await handle.close();
      throw error;
    }
    return new OpenCopy(handle, undefined, this.path);
  }
}

class OpenCopy implements CopyFile {
  readonly #handle: FileHandle;
  readonly #path: string;
  #temporary: string | undefined;

  constructor(handle: FileHandle, temporary: string | undefined, path: string) {
    this.#handle = handle;
    this.#temporary = temporary;
    this.#path = path;
  }

  async append(lines: readonly Buffer[]): Promise<void> {
    await this.#handle.writeFile(Buffer.concat(lines));
  }

  async finish(): Promise<void> {
    if (this.#temporary === undefined) return;
    // Else a machine that ends soon after could be left with the new name on a file without its content.
    await this.#handle.datasync();
    await rename(this.#temporary, this.#path);
    this.#temporary = undefined;
  }

  async close(): Promise<void> {
    await this.#handle.close();
    if (this.#temporary !== undefined) await rm(this.#temporary, { force: true });
  }
}
