import Table from "cli-table3";
import stringWidth from "string-width";

const noLines = {
  ...{ top: "", "top-mid": "", "top-left": "", "top-right": "" },
  ...{ bottom: "", "bottom-mid": "", "bottom-left": "", "bottom-right": "" },
  ...{ left: "", "left-mid": "", mid: "", "mid-mid": "", right: "", "right-mid": "" },
  middle: "  ",
};

/** The printer's time grows with the square of its rows: 3,000 at once take 17 s, by 50 they take 1 s. */
const rowsAtOnce = 50;

export type Alignment = "left" | "right";

/** Rows in columns as wide as they need, without lines. A cell has no line break. */
export function table(
  rows: readonly (readonly string[])[],
  alignments: readonly Alignment[],
): string {
  // none of 0: the printer takes that for "as wide as needed", which differs from part to part
  const widths = alignments.map((_, i) =>
    rows.reduce((width, row) => Math.max(width, stringWidth(row[i] ?? "")), 1),
  );
  const parts: string[] = [];
  for (let from = 0; from < rows.length; from += rowsAtOnce) {
    parts.push(part(rows.slice(from, from + rowsAtOnce), widths, alignments));
  }
  return parts.join("\n");
}

function part(
  rows: readonly (readonly string[])[],
  widths: readonly number[],
  alignments: readonly Alignment[],
): string {
  const printer = new Table({
    chars: noLines,
    colWidths: [...widths],
    colAligns: [...alignments],
    style: { "padding-left": 0, "padding-right": 0, head: [], border: [] },
  });
  printer.push(...rows.map((row) => [...row]));
  return printer.toString().replace(/[ ]+$/gm, "");
}
