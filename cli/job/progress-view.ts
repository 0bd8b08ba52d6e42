import type { SingleBar } from "cli-progress";
import { visible } from "../output/one-line.ts";
import type { Output } from "../output/output.ts";
import { colorsFor } from "../output/output.ts";
import { duration } from "../output/units.ts";
import type { ResultRow } from "../session.ts";
import type { Job } from "./job.ts";
import { Rate } from "./rate.ts";

/** Shows where a job is, on stderr. */
export interface ProgressView {
  show(state: ResultRow): void;
  /** Something else is printed next. */
  interrupt(): void;
  end(): void;
}

/** A bar on a terminal, a line a second elsewhere; with --json, lines of JSON. Of a pair, a terminal also keeps the phases that are over. */
export async function progressView(output: Output, kind?: Job["kind"]): Promise<ProgressView> {
  if (output.isJson) return new Lines(output, (state) => state.json);
  if (!process.stderr.isTTY) {
    const rate = new Rate();
    return new Lines(output, (state) => lineOf(state.values, rate));
  }
  const { default: cliProgress } = await import("cli-progress");
  const bar = new Bar(new cliProgress.SingleBar(barOptions()));
  return kind === "pair" ? new Phases(bar, output) : bar;
}

function barOptions() {
  const { cyan } = colorsFor(process.stderr);
  return {
    stream: process.stderr,
    format: `{phase} ${cyan("{bar}")} {shown}%{rest}`,
    barsize: 24,
    hideCursor: true,
    clearOnComplete: true,
    // what happens between two polls is nothing new
    autopadding: false,
    fps: 20,
    barCompleteChar: "█",
    barIncompleteChar: "░",
  };
}

class Bar implements ProgressView {
  readonly #bar: SingleBar;
  readonly #rate = new Rate();
  #isShown = false;

  constructor(bar: SingleBar) {
    this.#bar = bar;
  }

  show({ values }: ResultRow): void {
    const percent = values.overall_percent ?? "0";
    const payload = {
      phase: visible(phaseOf(values) || (values.status ?? "")),
      shown: Number(percent).toFixed(1),
      rest: details(values, this.#rate)
        .map((part) => `  ${part}`)
        .join(""),
    };
    if (this.#isShown) this.#bar.update(Number(percent), payload);
    else this.#bar.start(100, Number(percent), payload);
    this.#isShown = true;
  }

  interrupt(): void {
    this.end();
  }

  end(): void {
    if (!this.#isShown) return;
    this.#isShown = false;
    this.#bar.stop();
  }
}

/** A line for each phase that is over, above the view of the one that is not. */
class Phases implements ProgressView {
  readonly #view: ProgressView;
  readonly #output: Output;
  #phase = "";
  #since = performance.now();

  constructor(view: ProgressView, output: Output) {
    this.#view = view;
    this.#output = output;
  }

  show(state: ResultRow): void {
    const phase = phaseOf(state.values);
    if (phase !== this.#phase) {
      const now = performance.now();
      if (this.#phase !== "" && this.#phase !== "queued") {
        this.#view.interrupt();
        const seconds = ((now - this.#since) / 1000).toFixed(1);
        this.#output.note(`done  ${visible(this.#phase)}  ${seconds} s`);
      }
      this.#phase = phase;
      this.#since = now;
    }
    this.#view.show(state);
  }

  interrupt(): void {
    this.#view.interrupt();
  }

  end(): void {
    this.#view.end();
  }
}

class Lines implements ProgressView {
  readonly #output: Output;
  readonly #format: (state: ResultRow) => string;
  #last = "";
  #next = 0;

  constructor(output: Output, format: (state: ResultRow) => string) {
    this.#output = output;
    this.#format = format;
  }

  show(state: ResultRow): void {
    const line = this.#format(state);
    const now = performance.now();
    const isEnd = isLast(state);
    if (line === this.#last || (now < this.#next && !isEnd)) return;
    this.#output.note(line);
    this.#last = line;
    this.#next = now + 950;
  }

  /** What was there before a message is worth saying again. */
  interrupt(): void {
    this.#last = "";
  }

  end(): void {}
}

function isLast({ values }: ResultRow): boolean {
  return values.status !== "pending" && values.status !== "running";
}

type Values = ResultRow["values"];

function isDryRun(values: Values): boolean {
  return values.dry_run === "t" || values.dry_run === "true";
}

/** What a dry run counts it does not merge. */
function phaseOf(values: Values): string {
  if (values.phase === "merging" && isDryRun(values)) return "counting";
  const place = values.pair_id ? pairPlaces[values.phase ?? ""] : undefined;
  return `${values.phase ?? ""}${place === undefined ? "" : ` ${place}`}`;
}

/** Where a phase of a pair works, if not on both sides. */
const pairPlaces: Readonly<Record<string, string>> = {
  ...{ snapshot: "here", fetching: "at the peer", loading: "at the peer" },
};

function lineOf(values: Values, rate: Rate): string {
  const percent = `${Number(values.overall_percent ?? 0).toFixed(1)}%`;
  return [phaseOf(values), percent, ...details(values, rate)].map(visible).join("  ");
}

/** Table, speed and what is left, as far as they are known. */
function details(values: Values, rate: Rate): string[] {
  if (values.status === "pending") return [values.waits_for ?? "waiting"].map(visible);
  if (values.bytes_processed) rate.add(Number(values.bytes_processed), performance.now());
  const speed = rate.perSecond ?? (Number(values.throughput_bytes_sec ?? 0) || undefined);
  return [
    ...(values.waits_for ? [visible(values.waits_for)] : []),
    ...(values.current_table ? [visible(values.current_table)] : []),
    ...(values.tables_total
      ? [`${values.tables_completed ?? 0}/${values.tables_total} tables`]
      : []),
    ...(values.rows_merged && values.rows_merged !== "0"
      ? [`${values.rows_merged} rows${isDryRun(values) ? " would be merged" : ""}`]
      : []),
    ...(speed === undefined ? [] : [`${(speed / 1e6).toFixed(1)} MB/s`]),
    ...(values.eta_seconds ? [`ETA ${duration(Number(values.eta_seconds))}`] : []),
  ];
}
