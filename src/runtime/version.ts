// The program's version: that of the package.json above the compiled files.
import { readFileSync } from 'node:fs';

export function programVersion(): string {
  for (let folder = new URL('.', import.meta.url); ; folder = new URL('..', folder)) {
    try {
      const text = readFileSync(new URL('package.json', folder), 'utf8');
      const parsed: unknown = JSON.parse(text);
      if (typeof parsed === 'object' && parsed !== null && 'version' in parsed) return String(parsed.version);
    } catch {
      // Not in this folder; the root's parent is the root.
      if (folder.pathname === '/') return 'unknown';
    }
  }
}
