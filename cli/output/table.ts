import Table from "cli-table3";

const noLines = {
  ...{ top: "", "top-mid": "", "top-left": "", "top-right": "" },
  ...{ bottom: "", "bottom-mid": "", "bottom-left": "", "bottom-right": "" },
  ...{ left: "", "left-mid": "", mid: "", "mid-mid": "", right: "", "right-mid": "" },
  middle: "  ",
};

/** Rows in columns as wide as they need, without lines. */
export function table(
  rows: readonly (readonly string[])[],
  alignments: readonly ("left" | "right")[],
): string {
  const printer = new Table({
    chars: noLines,
    colAligns: [...alignments],
    style: { "padding-left": 0, "padding-right": 0, head: [], border: [] },
  });
  printer.push(...rows.map((row) => [...row]));
  return printer.toString().replace(/[ ]+$/gm, "");
}
