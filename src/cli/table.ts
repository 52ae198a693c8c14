/** Plain aligned tables, as every command prints them. */

/** Numbers with what may stand around them, or a dash for none: such columns are aligned on the right. */
const numeric = /^([-+]?[\d.,]+( ?[×%A-Za-z]{1,3})?|-|)$/;

/**
 * Lines of a table: columns two spaces apart, as wide as their widest cell, numbers on the right. No line ends in spaces.
 * Every row must have as many cells as the header.
 */
export function formatTable(header: readonly string[], rows: readonly (readonly string[])[]): string {
  const columns = header.map((title, column) => {
    const cells = rows.map((row) => row[column]);
    return {
      width: Math.max(title.length, ...cells.map((cell) => cell.length)),
      right: cells.some((cell) => /\d/.test(cell)) && cells.every((cell) => numeric.test(cell)),
    };
  });
  const line = (cells: readonly string[]): string =>
    cells
      .map((cell, i) => (columns[i].right ? cell.padStart(columns[i].width) : cell.padEnd(columns[i].width)))
      .join("  ")
      .trimEnd();
  return [header, ...rows].map(line).join("\n");
}

/** Bytes for people: `14.7 MB`. */
export function formatBytes(bytes: number): string {
  const units = ["B", "kB", "MB", "GB", "TB"];
  const power = Math.min(units.length - 1, Math.floor(Math.log10(Math.max(bytes, 1)) / 3));
  return `${(bytes / 1000 ** power).toFixed(power === 0 ? 0 : 1)} ${units[power]}`;
}
