import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { CliError, type ExitCode, exitCode } from "../cli-error.ts";
import type { Invocation } from "../invocation.ts";
import {
  type Manifest,
  ManifestError,
  readManifest,
  type SnapshotFile,
} from "../local/manifest.ts";
import { parseToc, TocError } from "../local/toc.ts";
import { type Problem, verifyDirectory } from "../local/verify.ts";
import { exactBytes } from "../output/units.ts";
import type { Result } from "../session.ts";

/* Snapshots on this machine, for which no PostgreSQL is asked. Only digests of stored bytes are looked at, so nothing is decompressed. */

const numbers: ReadonlySet<string> = new Set([
  "rows",
  "raw_bytes",
  "stored_bytes",
  "frames",
  "dump_id",
]);

/** Rows as a query would answer them. */
function resultOf(columns: readonly string[], rows: readonly object[]): Result {
  return {
    columns: columns.map((name) => ({ name, isNumber: numbers.has(name) })),
    rows: rows.map((row) => {
      const facts = row as Record<string, string | number | null | undefined>;
      const values = columns.map((name) => [name, facts[name]?.toString() ?? null] as const);
      const json = columns.map((name) => [name, facts[name] ?? null] as const);
      return {
        values: Object.fromEntries(values),
        json: JSON.stringify(Object.fromEntries(json)),
      };
    }),
  };
}

function explain(error: unknown, path: string): never {
  const { code, message } = error as NodeJS.ErrnoException;
  if (code === "ENOENT" || code === "ENOTDIR")
    throw new CliError(exitCode.failed, `${path} on this machine holds no finished snapshot`);
  if (code !== undefined || error instanceof ManifestError || error instanceof TocError)
    throw new CliError(exitCode.failed, `${path} on this machine cannot be read: ${message}`);
  throw error;
}

/** Compare a directory with its manifest, byte by byte. */
export async function verifyLocal({ output }: Invocation, path: string): Promise<ExitCode> {
  const problems: Problem[] = [];
  try {
    for await (const problem of verifyDirectory(path)) problems.push(problem);
  } catch (error) {
    explain(error, path);
  }
  const isSound = problems.length === 0;
  if (output.isJson || !isSound)
    await output.rows(resultOf(["file", "problem", "expected", "found"], problems));
  const found = isSound ? "sound" : `damaged: ${problems.length} problems`;
  if (!output.isJson) output.line(`${path} on this machine is ${found}`);
  return isSound ? exitCode.success : exitCode.differs;
}

function fileRow({ frames, ...file }: SnapshotFile) {
  return { ...file, frames: frames.length };
}

const fileColumns = [
  "name",
  "kind",
  "schema",
  "table",
  "rows",
  "raw_bytes",
  "stored_bytes",
  "frames",
];
const entryColumns = ["dump_id", "section", "type", "schema", "name", "owner", "file"];

/** Show what a snapshot holds, by its manifest and its table of contents. */
export async function inspectSnapshot(
  { output }: Invocation,
  path: string,
  isOfContents: boolean,
): Promise<ExitCode> {
  try {
    const manifest = await readManifest(path);
    const contents = output.isJson || isOfContents ? await readContents(path, manifest) : [];
    if (output.isJson) {
      const files = manifest.files.map(fileRow);
      const header = { ...manifest.header, sha256: manifest.sha256 };
      output.line(JSON.stringify({ manifest: header, files, contents }));
    } else if (isOfContents) await output.rows(resultOf(entryColumns, contents));
    else {
      await output.record(recordOf(manifest), (column, value) =>
        column.endsWith("_bytes") ? exactBytes(value) : undefined,
      );
      output.line("");
      await output.rows(resultOf(fileColumns, manifest.files.map(fileRow)));
    }
    return exitCode.success;
  } catch (error) {
    return explain(error, path);
  }
}

function recordOf({ header, sha256 }: Manifest) {
  const values = Object.entries({ ...header, sha256 }).filter(([, value]) => value !== null);
  return { values: Object.fromEntries(values.map(([name, v]) => [name, `${v}`])), json: "" };
}

async function readContents(path: string, { files }: Manifest) {
  const file = files.find(({ name }) => name === "toc.dat");
  if (!file) throw new ManifestError("toc.dat is not named");
  return parseToc(await readFile(join(path, file.name)));
}
