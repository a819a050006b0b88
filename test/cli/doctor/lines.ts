// Findings as tests of `vipmesh doctor` compare them: each a line that the user reads, with the advice behind a bar.
import type { Finding } from '../../../src/cli/doctor/finding.ts';

/** `bad: what | advice` */
export function lines(findings: readonly Finding[]): readonly string[] {
  return findings.map((one) => (one.level === 'ok' ? `ok: ${one.what}` : `${one.level}: ${one.what} | ${one.advice}`));
}
