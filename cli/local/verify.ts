import { createHash } from "node:crypto";
import { constants } from "node:fs";
import { type FileHandle, open, readdir } from "node:fs/promises";
import { join } from "node:path";
import {
  coveredBytes,
  type Frame,
  isCovered,
  type Manifest,
  ManifestError,
  manifestName,
  markerName,
  readManifest,
  type SnapshotFile,
} from "./manifest.ts";

/** A way in which a snapshot differs from its manifest, as verify_snapshot() has it. */
export interface Problem {
  readonly file: string;
  readonly problem: string;
  readonly expected: string | null;
  readonly found: string | null;
}

const readStep = 1024 * 1024;

function problem(
  file: string,
  what: string,
  expected: string | number | null = null,
  found: string | number | null = null,
): Problem {
  const text = (value: string | number | null) =>
    typeof value === "number" ? `${value} bytes` : value;
  return { file, problem: what, expected: text(expected), found: text(found) };
}

/** Read every byte of a snapshot's directory on this machine again; none is a sound one. */
export async function* verifyDirectory(directory: string): AsyncGenerator<Problem> {
  const entries = await readdir(directory);
  const manifest = await readManifest(directory).catch((error: Error) => problemOf(error));
  if ("problem" in manifest) {
    yield manifest;
    return;
  }
  yield* nameProblems(manifest, entries);
  for (const file of manifest.files) yield* verifyFile(directory, file);
}

function problemOf(error: NodeJS.ErrnoException): Problem {
  if (error instanceof ManifestError) return problem(manifestName, error.message);
  if (error.code === "ENOENT") return problem(manifestName, "missing: not a finished snapshot");
  return problem(manifestName, "cannot be opened", null, error.message);
}

function* nameProblems({ files }: Manifest, entries: readonly string[]): Generator<Problem> {
  const named = new Set<string>();
  for (const { name } of files) {
    if (named.has(name)) yield problem(name, "named twice in the manifest");
    named.add(name);
  }
  for (const name of entries)
    if (!named.has(name) && name !== manifestName && name !== markerName)
      yield problem(name, "not named in the manifest");
}

/** Open a file that is to be read only if it is one. */
async function openFile(directory: string, name: string): Promise<FileHandle | Problem> {
  const { O_RDONLY, O_NOFOLLOW, O_NONBLOCK } = constants;
  try {
    return await open(join(directory, name), O_RDONLY | O_NOFOLLOW | O_NONBLOCK);
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    if (code === "ENOENT") return problem(name, "missing");
    if (code === "ELOOP") return problem(name, "a symbolic link");
    return problem(name, "cannot be opened", null, message);
  }
}

async function* verifyFile(directory: string, file: SnapshotFile): AsyncGenerator<Problem> {
  const handle = await openFile(directory, file.name);
  if ("problem" in handle) {
    yield handle;
    return;
  }
  try {
    const stat = await handle.stat();
    if (!stat.isFile()) yield problem(file.name, "not a regular file");
    else if (stat.size !== file.stored_bytes) {
      const what = stat.size < file.stored_bytes ? "truncated" : "too long";
      yield problem(file.name, what, file.stored_bytes, stat.size);
    } else if (!isCovered(file)) {
      const found = `${coveredBytes(file)} bytes without gap or overlap`;
      yield problem(file.name, "frames do not cover the file", file.stored_bytes, found);
    } else yield* verifyFrames(handle, file);
  } finally {
    await handle.close();
  }
}

async function* verifyFrames(handle: FileHandle, file: SnapshotFile): AsyncGenerator<Problem> {
  const buffer = Buffer.allocUnsafe(readStep);
  for (const frame of file.frames) {
    const found = await digestOf(handle, frame, buffer);
    const which = `frame at offset ${frame.offset}`;
    if (found === null) yield problem(file.name, `${which} cannot be read`);
    else if (found !== frame.sha256)
      yield problem(file.name, `${which} changed: SHA-256 differs`, frame.sha256, found);
  }
}

/** The digest of a part of a file; null if the file is not so long. */
export async function digestOf(
  handle: FileHandle,
  { offset, stored_bytes }: Frame,
  buffer: Buffer,
): Promise<string | null> {
  const hash = createHash("sha256");
  for (let done = 0; done < stored_bytes; ) {
    const length = Math.min(buffer.length, stored_bytes - done);
    const { bytesRead } = await handle.read(buffer, 0, length, offset + done);
    if (bytesRead === 0) return null;
    hash.update(buffer.subarray(0, bytesRead));
    done += bytesRead;
  }
  return hash.digest("hex");
}
