// What a check has found. PURE.

export type Finding =
  | { readonly level: 'ok'; readonly check: string; readonly what: string }
  /** `warn`: something works less well than it could, or may fail later. `bad`: something does not work. */
  | { readonly level: 'warn' | 'bad'; readonly check: string; readonly what: string; readonly advice: string };

/** The findings of one check, each by a sentence and, unless all is well, another that says what to do. */
export function findingsOf(check: string) {
  return {
    ok: (what: string): Finding => ({ level: 'ok', check, what }),
    warn: (what: string, advice: string): Finding => ({ level: 'warn', check, what, advice }),
    bad: (what: string, advice: string): Finding => ({ level: 'bad', check, what, advice }),
  };
}

/** One line each, and the advice below it. */
export function formatFindings(findings: readonly Finding[]): string {
  return findings
    .map((finding) => {
      const first = `${finding.level.padEnd(4)}  ${oneLine(finding.what)}\n`;
      return finding.level === 'ok' ? first : `${first}      ${oneLine(finding.advice)}\n`;
    })
    .join('');
}

/** `1 container`, `2 containers`. */
export function count(number: number, noun: string): string {
  return `${number} ${noun}${number === 1 ? '' : 's'}`;
}

/** At most three of them, and how many more there are. */
export function some(names: readonly string[]): string {
  const shown = names.slice(0, 3).join(', ');
  return names.length > 3 ? `${shown} and ${names.length - 3} more` : shown;
}

function oneLine(text: string): string {
  return text.trim().replace(/\s*\n\s*/g, '; ');
}
