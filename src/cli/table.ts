// Columns as Docker's tables have them: at least 10 wide, 3 blanks between, the last one as long as it is. PURE.

const MIN_WIDTH = 10;
const PADDING = 3;

/** A table with its heading, each line with its newline. Cells must not hold newlines. */
export function formatTable(headings: readonly string[], rows: readonly (readonly string[])[]): string {
  const lines = headings.length === 0 ? rows : [headings, ...rows];
  const columns = Math.max(0, ...lines.map((line) => line.length));
  const widths = Array.from({ length: columns }, (_, column) =>
    Math.max(MIN_WIDTH, ...lines.map((line) => width(line[column] ?? '') + PADDING)),
  );
  return lines.map((line) => `${formatLine(line, widths)}\n`).join('');
}

function formatLine(cells: readonly string[], widths: readonly number[]): string {
  return cells
    .map((cell, column) =>
      column === cells.length - 1 ? cell : cell + ' '.repeat((widths[column] ?? 0) - width(cell)),
    )
    .join('');
}

/** Code points: names may hold letters outside ASCII, and those are one column wide. */
function width(text: string): number {
  return [...text].length;
}
