import pc from "picocolors";
import type { Result, ResultRow } from "../session.ts";
import { oneLine, visible } from "./one-line.ts";

export type Colors = ReturnType<typeof pc.createColors>;

/** A value's form for people; undefined leaves it as it is. */
export type Format = (column: string, value: string) => string | undefined;

/** The result goes to stdout, all else to stderr. */
export class Output {
  readonly isJson: boolean;
  /** Called before a message, so that it does not land in the middle of a progress bar. */
  beforeMessage: () => void = () => {};

  constructor(isJson: boolean) {
    this.isJson = isJson;
  }

  get colors(): Colors {
    return colorsFor(process.stdout);
  }

  /** A message on stderr: one line, in JSON with --json. */
  message(text: string): void {
    this.beforeMessage();
    this.note(this.isJson ? JSON.stringify({ message: text }) : oneLine(text));
  }

  /** A line on stderr as it is. */
  note(line: string): void {
    process.stderr.write(`${line}\n`);
  }

  /** A line of the result. */
  line(text: string): void {
    process.stdout.write(`${text}\n`);
  }

  /** Rows: aligned for people, with --json an array that PostgreSQL has written. */
  async rows(result: Result, format: Format = () => undefined): Promise<void> {
    if (this.isJson) {
      const rows = result.rows.map(({ json }) => `\n  ${json}`);
      this.line(rows.length === 0 ? "[]" : `[${rows.join(",")}\n]`);
      return;
    }
    const { table } = await import("./table.ts");
    const titles = result.columns.map(({ name }) => this.colors.bold(visible(name)));
    const cells = result.rows.map(({ values }) => {
      return result.columns.map(({ name }) => cell(name, values[name], format));
    });
    const alignments = result.columns.map(({ isNumber }) => (isNumber ? "right" : "left"));
    if (cells.length > 0) this.line(table([titles, ...cells], alignments));
    else this.message("no rows");
  }

  /** One row: a line a column that has a value, or with --json an object. */
  async record(row: ResultRow, format: Format = () => undefined): Promise<void> {
    if (this.isJson) {
      this.line(row.json);
      return;
    }
    const { table } = await import("./table.ts");
    const lines = Object.entries(row.values)
      .map(([name, value]) => [this.colors.bold(visible(name)), cell(name, value, format)])
      .filter(([, text]) => text !== "");
    this.line(table(lines, ["left", "left"]));
  }
}

function cell(name: string, value: string | null | undefined, format: Format): string {
  if (value === null || value === undefined) return "";
  return visible(format(name, value) ?? booleans[value] ?? value);
}

const booleans: Readonly<Record<string, string>> = { t: "yes", f: "no" };

/** Colours on a terminal only, and never with NO_COLOR. */
export function colorsFor(stream: { readonly isTTY?: boolean }): Colors {
  const { NO_COLOR, TERM } = process.env;
  return pc.createColors(stream.isTTY === true && !NO_COLOR && TERM !== "dumb");
}
