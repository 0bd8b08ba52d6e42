import { CliError, type ExitCode, exitCode, usageError } from "../cli-error.ts";
import { onInterrupt } from "../interrupt.ts";
import type { CommonOptions, Invocation } from "../invocation.ts";
import { progressView } from "../job/progress-view.ts";
import { Download, downloadManifest, type Source } from "../local/download.ts";
import { DownloadTarget } from "../local/download-target.ts";
import { type Manifest, ManifestError } from "../local/manifest.ts";
import { exactBytes } from "../output/units.ts";
import type { ResultRow, Session } from "../session.ts";

export interface DownloadOptions {
  readonly output: string;
  readonly parallel?: string;
  readonly reconnectTimeout?: number;
}

/** Copy a snapshot from the server to this machine. */
export async function downloadSnapshot(
  invocation: Invocation,
  options: DownloadOptions & CommonOptions,
  snapshot: string,
): Promise<ExitCode> {
  const parallel = parallelOf(options);
  const session = await invocation.open();
  const target = new DownloadTarget(options.output);
  try {
    const source = await sourceOf(session, snapshot);
    const manifest = await target.begin(source.sha256, () => downloadManifest(session, source));
    await session.end();
    await onInterrupt(
      () => {
        invocation.output.message(`${options.output} goes on when the same command is given again`);
        process.exit(exitCode.interrupted);
      },
      () =>
        withinTimeout(options, () =>
          download(invocation, { ...options, parallel }, source, target, manifest),
        ),
    );
    await target.finish();
    await print(invocation, manifest, options.output);
    return exitCode.success;
  } catch (error) {
    if (error instanceof ManifestError)
      throw new CliError(
        exitCode.failed,
        `the snapshot's manifest cannot be used: ${error.message}`,
      );
    throw error;
  } finally {
    await session.end();
  }
}

function parallelOf({ parallel = "4" }: DownloadOptions): number {
  const number = Number(parallel);
  if (!(number >= 1 && number <= 64)) throw usageError("--parallel must be between 1 and 64");
  return number;
}

async function sourceOf(session: Session, snapshot: string): Promise<Source> {
  const { values } = await session.row("select * from steep_repl._snapshot_source($1)", [snapshot]);
  return {
    path: values.path ?? "",
    manifestBytes: Number(values.manifest_bytes),
    sha256: values.manifest_sha256 ?? "",
  };
}

async function withinTimeout(
  { timeout }: CommonOptions,
  action: () => Promise<void>,
): Promise<void> {
  if (timeout === undefined) return action();
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    const error = new CliError(
      exitCode.timeout,
      `timed out after ${timeout} s`,
      "the same command goes on from what is here",
    );
    timer = setTimeout(() => reject(error), timeout * 1000);
  });
  try {
    await Promise.race([action(), late]);
  } finally {
    clearTimeout(timer);
  }
}

async function download(
  invocation: Invocation,
  options: Omit<DownloadOptions, "parallel"> & { readonly parallel: number },
  source: Source,
  target: DownloadTarget,
  manifest: Manifest,
): Promise<void> {
  const total = manifest.files.reduce((sum, file) => sum + file.stored_bytes, 0);
  const view = await progressView(invocation.output);
  invocation.output.beforeMessage = () => view.interrupt();
  let done = 0;
  const work = new Download(invocation, source, target, {
    parallel: options.parallel,
    reconnectTimeout: options.reconnectTimeout ?? 300,
    onBytes: (bytes) => {
      done += bytes;
      view.show(stateOf(done, total));
    },
  });
  await work.run(manifest).finally(() => view.end());
}

function stateOf(done: number, total: number): ResultRow {
  const values = {
    status: done < total ? "running" : "complete",
    phase: "data",
    overall_percent: total === 0 ? "100" : ((100 * done) / total).toFixed(1),
    bytes_processed: `${done}`,
  };
  return { values, json: JSON.stringify({ ...values, bytes_processed: done }) };
}

async function print(invocation: Invocation, manifest: Manifest, path: string): Promise<void> {
  const { snapshot_id, tables, rows, stored_bytes } = manifest.header;
  const facts = {
    snapshot_id,
    tables,
    rows,
    size_bytes: stored_bytes,
    checksum: manifest.sha256,
    path,
  };
  const values = Object.fromEntries(
    Object.entries(facts).map(([name, value]) => [name, value === null ? null : `${value}`]),
  );
  await invocation.output.record({ values, json: JSON.stringify(facts) }, (column, value) =>
    column === "size_bytes"
      ? exactBytes(value)
      : column === "path"
        ? `${value} on this machine`
        : undefined,
  );
}
