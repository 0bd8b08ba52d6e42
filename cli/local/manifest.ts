import { createHash } from "node:crypto";
import { constants } from "node:fs";
import { open } from "node:fs/promises";
import { join } from "node:path";

/** A run of a file's bytes that has a digest of its own. */
export interface Frame {
  readonly offset: number;
  readonly stored_bytes: number;
  readonly sha256: string;
}

export interface SnapshotFile {
  readonly name: string;
  readonly kind: string;
  readonly schema?: string | null;
  readonly table?: string | null;
  readonly rows?: number;
  readonly raw_bytes?: number;
  readonly stored_bytes: number;
  /** In the order of the file; a file without any has one: itself. */
  readonly frames: readonly Frame[];
}

/** What manifest.json says; docs/internals/file-format.md has its members. */
export interface Manifest {
  readonly header: Readonly<Record<string, string | number | null>>;
  readonly files: readonly SnapshotFile[];
  /** Of the whole file, as `snapshots.checksum`. */
  readonly sha256: string;
}

export const manifestName = "manifest.json";
export const markerName = ".steep_repl";
const formatVersion = 1;
/** As the server has it; Node.js can make no longer string than half of that, either. */
const maxManifestBytes = 1024 ** 3 / 2;

/** The manifest cannot be used; what is wrong with it. */
export class ManifestError extends Error {}

function refuse(problem: string): never {
  throw new ManifestError(problem);
}

export const sha256 = (bytes: Buffer) => createHash("sha256").update(bytes).digest("hex");

/** Read and check a manifest. Throws a ManifestError, or what the system says. */
export async function readManifest(directory: string, name = manifestName): Promise<Manifest> {
  const file = await open(join(directory, name), constants.O_RDONLY | constants.O_NOFOLLOW);
  try {
    const { size } = await file.stat();
    if (size > maxManifestBytes) refuse(`too large: ${size} bytes`);
    return parseManifest(await file.readFile());
  } finally {
    await file.close();
  }
}

/** The same of its bytes. */
export function parseManifest(bytes: Buffer): Manifest {
  const tail = /"sha256":"([0-9a-f]{64})"\}\n$/.exec(bytes.subarray(-100).toString("latin1"));
  if (!tail) refuse("truncated: does not end with its SHA-256");
  if (sha256(bytes.subarray(0, bytes.length - tail[0].length)) !== tail[1])
    refuse("changed: SHA-256 differs");
  let parsed: unknown;
  try {
    parsed = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes));
  } catch (error) {
    refuse(`not a valid manifest: ${(error as Error).message}`);
  }
  const { files, ...header } = parsed as { readonly files?: unknown };
  const version = (header as Manifest["header"]).format_version;
  if (version !== formatVersion) refuse(`format version ${version} is not supported`);
  if (!Array.isArray(files)) refuse('"files" is missing');
  return { header, files: files.map(fileOf), sha256: sha256(bytes) };
}

function fileOf(raw: unknown): SnapshotFile {
  const { frames, sha256, ...file } = raw as SnapshotFile & { readonly sha256?: unknown };
  if (typeof file.name !== "string" || !/^[^./][^/\0]*$/.test(file.name))
    refuse(`names an invalid file: ${JSON.stringify(file.name)}`);
  if (file.name === manifestName || typeof file.kind !== "string")
    refuse(`names an invalid file: ${file.name}`);
  checkCount(file.stored_bytes);
  const list = frames ?? [{ offset: 0, stored_bytes: file.stored_bytes, sha256 }];
  if (!Array.isArray(list)) refuse('"frames" has an invalid value');
  return { ...file, frames: list.map(frameOf).sort((a, b) => a.offset - b.offset) };
}

function frameOf(raw: unknown): Frame {
  const { offset, stored_bytes, sha256 } = raw as Frame;
  checkCount(offset);
  checkCount(stored_bytes);
  if (typeof sha256 !== "string" || !/^[0-9a-f]{64}$/.test(sha256))
    refuse('"sha256" has an invalid value');
  return { offset, stored_bytes, sha256 };
}

function checkCount(value: unknown): void {
  if (!(Number.isSafeInteger(value) && (value as number) >= 0))
    refuse(`a size or an offset has an invalid value: ${JSON.stringify(value)}`);
}

/** Up to where a file's frames cover it without a gap or an overlap. */
export function coveredBytes({ frames }: SnapshotFile): number {
  let end = 0;
  for (const frame of frames) {
    if (frame.offset !== end) break;
    end += frame.stored_bytes;
  }
  return end;
}

/** Whether they cover all of it, and nothing else. */
export function isCovered(file: SnapshotFile): boolean {
  const all = file.frames.reduce((sum, frame) => sum + frame.stored_bytes, 0);
  return coveredBytes(file) === file.stored_bytes && all === file.stored_bytes;
}
