// Stack files: applied at the start and whenever they change. A file that is broken, or cannot be applied, is reported, and what
// it declared before stays.
import { readFile } from 'node:fs/promises';
import { type FSWatcher, watch } from 'node:fs';
import { basename, dirname } from 'node:path';
import { type ComposeStack, readComposeFile } from '../compose/compose-file.ts';
import type { NetworkDriver } from '../model/network.ts';
import type { Log } from '../runtime/log.ts';

export interface StackFile {
  readonly name: string;
  readonly file: string;
}

export interface StackFileStatus extends StackFile {
  /** Milliseconds since the epoch of the last content that is in effect; undefined when none ever was. */
  readonly appliedAt: number | undefined;
  /** Why the file as it stands now is not in effect; empty when it is. */
  readonly errors: readonly string[];
}

export interface StackFilesOptions {
  readonly files: readonly StackFile[];
  readonly defaultDriver: NetworkDriver;
  readonly environment: Readonly<Record<string, string | undefined>>;
  readonly log: Log;
  /** Makes the cluster's state agree with the file. Rejects with an error for the user, having changed nothing it names. */
  readonly apply: (name: string, stack: ComposeStack) => Promise<void>;
  readonly now: () => number;
  /** True when something of the stack exists, although no file of this run has been applied: an earlier run left it. */
  readonly exists: (name: string) => boolean;
  /** Absent: RETRY_MS. */
  readonly retryMs?: number;
}

/** Editors write a file in several steps; it is read when it has been quiet for this long. */
const SETTLE_MS = 100;

/** What could not be applied is tried again this often: a port that was taken may be free by then, a store may be back. */
const RETRY_MS = 2000;

interface State {
  readonly source: StackFile;
  /** The text that was read last, so that touching a file applies nothing. */
  text: string | undefined;
  status: StackFileStatus;
  timer: NodeJS.Timeout | undefined;
  watcher: FSWatcher | undefined;
}

export class StackFiles {
  readonly #options: StackFilesOptions;
  readonly #states: readonly State[];
  /** One at a time, because two files may name the same things. */
  #tail: Promise<void> = Promise.resolve();
  #closed = false;

  constructor(options: StackFilesOptions) {
    this.#options = options;
    this.#states = options.files.map((source) => ({
      source,
      text: undefined,
      status: { ...source, appliedAt: undefined, errors: [] },
      timer: undefined,
      watcher: undefined,
    }));
  }

  /** Applies every file once, in order, then watches them. Resolves when all have been tried. */
  async start(): Promise<readonly StackFileStatus[]> {
    for (const state of this.#states) {
      await this.#apply(state);
      if (!this.#closed) this.#watch(state);
    }
    return this.status();
  }

  status(): readonly StackFileStatus[] {
    return this.#states.map((state) => state.status);
  }

  close(): void {
    this.#closed = true;
    for (const state of this.#states) {
      state.watcher?.close();
      clearTimeout(state.timer);
    }
  }

  /** The folder is watched, not the file: editors and `mv` put a new file in its place. */
  #watch(state: State): void {
    const name = basename(state.source.file);
    try {
      state.watcher = watch(dirname(state.source.file), (_event, changed) => {
        if (changed !== null && changed !== name) return;
        clearTimeout(state.timer);
        state.timer = setTimeout(() => void this.#apply(state), SETTLE_MS);
      });
      state.watcher.on('error', (error) => this.#notWatched(state, error));
    } catch (error) {
      this.#notWatched(state, error);
    }
  }

  #notWatched(state: State, error: unknown): void {
    this.#options.log.warn('the stack file is not watched; changes of it take effect at the next start', {
      file: state.source.file,
      error,
    });
  }

  #apply(state: State): Promise<void> {
    this.#tail = this.#tail.then(() => (this.#closed ? undefined : this.#applyNow(state)));
    return this.#tail;
  }

  async #applyNow(state: State): Promise<void> {
    const { name, file } = state.source;
    const { log, environment, defaultDriver, now } = this.#options;
    const text = await readText(file);
    if (typeof text !== 'string') {
      this.#failed(state, [`${file}: ${text.message}`]);
      return;
    }
    if (text === state.text) return;
    clearTimeout(state.timer);
    state.text = text;
    const result = readComposeFile({ file, text, stack: name, environment, defaultDriver });
    if (!result.ok) {
      this.#failed(state, result.errors);
      return;
    }
    for (const warning of result.warnings) log.warn('stack file', { stack: name, warning });
    if (result.unused.length > 0)
      log.info('accepted and unused keys of the stack file', { stack: name, keys: result.unused });
    try {
      await this.#options.apply(name, result);
      state.status = { ...state.source, appliedAt: now(), errors: [] };
      log.info('stack file is in effect', { stack: name, file, services: result.services.length });
    } catch (error) {
      const why = error instanceof Error ? error.message : String(error);
      this.#failed(state, [why.includes(`${file}:`) ? why : `${file}: ${why}`]);
      state.text = undefined;
      if (!this.#closed) state.timer = setTimeout(() => void this.#apply(state), this.#options.retryMs ?? RETRY_MS);
    }
  }

  #failed(state: State, errors: readonly string[]): void {
    // Said once, although it is tried again and again.
    if (errors.join() === state.status.errors.join()) return;
    const isKept = state.status.appliedAt !== undefined || this.#options.exists(state.source.name);
    const kept = isKept ? 'the last good state stays' : 'nothing of it is in effect';
    for (const error of errors)
      this.#options.log.error('stack file is not applied', { stack: state.source.name, error, kept });
    state.status = { ...state.status, errors };
  }
}

async function readText(file: string): Promise<string | Error> {
  try {
    return await readFile(file, 'utf8');
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code;
    if (code === 'ENOENT') return new Error('there is no such file');
    return new Error(`cannot be read (${code ?? String(error)})`);
  }
}
