import { createHash } from "node:crypto";
import { readdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { giveToServer } from "./data-directory.ts";
import { run } from "./pg.ts";
import type { Server } from "./server.ts";
import { freshPath } from "./snapshots.ts";
import { readToc, type Toc, type TocEntry, writeToc } from "./toc.ts";

/** A frame of a data file, as the manifest has it. A bigint is written with all its digits. */
export interface Frame {
  offset: number | bigint;
  rows: number | bigint;
  raw_bytes: number | bigint;
  stored_bytes: number | bigint;
  sha256: string;
  blocks: null | [number, number];
}

export interface ManifestFile {
  name: string;
  kind: string;
  schema?: string;
  table?: string;
  rows?: number | bigint;
  raw_bytes?: number | bigint;
  stored_bytes: number | bigint;
  sha256?: string;
  frames?: Frame[];
}

export interface Manifest {
  creator: string;
  encoding: string;
  compression: string;
  files: ManifestFile[];
  [name: string]: unknown;
}

export const sections = { none: 1, preData: 2, data: 3, postData: 4 } as const;

/** SHA-256 as the manifest writes it. */
export function sha256(data: string | Buffer): string {
  return createHash("sha256").update(data).digest("hex");
}

/** A manifest as text, with the digest of itself at its end. */
export function manifestText({ sha256: _, ...manifest }: Manifest): string {
  const json = JSON.stringify(manifest, (_, value) =>
    typeof value === "bigint" ? `bigint:${value}` : value,
  ).replaceAll(/"bigint:(\d+)"/g, "$1");
  const head = `${json.slice(0, -1)},\n`;
  return `${head}"sha256":"${sha256(head)}"}\n`;
}

/** A snapshot on disk that somebody edits and signs again, so that every digest is right. */
export class Archive {
  readonly path: string;
  readonly manifest: Manifest;
  readonly toc: Toc;

  private constructor(path: string, manifest: Manifest, toc: Toc) {
    this.path = path;
    this.manifest = manifest;
    this.toc = toc;
  }

  /** A copy of a snapshot, in a directory of its own. */
  static async copyOf(server: Server, original: string): Promise<Archive> {
    const path = freshPath(server);
    await run("cp", ["-a", original, path]);
    return new Archive(
      path,
      JSON.parse(await readFile(join(path, "manifest.json"), "utf8")),
      readToc(await readFile(join(path, "toc.dat"))),
    );
  }

  /** The entry of a kind and a name; the first one that matches. */
  entry(desc: string, tag: string): TocEntry {
    const found = this.toc.entries.find((e) => e.desc === desc && e.tag === tag);
    if (!found) throw new Error(`the archive has no ${desc} ${tag}`);
    return found;
  }

  /** A file of the manifest, by its table's name. */
  file(table: string): ManifestFile & { frames: Frame[] } {
    const found = this.manifest.files.find((file) => file.table === table);
    if (!found?.frames) throw new Error(`the manifest has no file of ${table}`);
    return found as ManifestFile & { frames: Frame[] };
  }

  frame(table: string, number = 0): Frame {
    const frame = this.file(table).frames[number];
    if (!frame) throw new Error(`the file of ${table} has no frame ${number}`);
    return frame;
  }

  /** Add an entry after the last one of its section; returns it. */
  add(changes: Partial<TocEntry> & { readonly section: number }): TocEntry {
    const entries = this.toc.entries;
    const entry: TocEntry = {
      dumpId: Math.max(...entries.map((e) => e.dumpId)) + 1,
      hadDumper: 0,
      tableoid: "0",
      oid: "0",
      tag: "added",
      desc: "FUNCTION",
      defn: null,
      dropStmt: null,
      copyStmt: null,
      schema: "public",
      tablespace: null,
      tableam: null,
      relkind: 0,
      owner: "",
      dependencies: [],
      filename: "",
      ...changes,
    };
    const next = entries.findIndex((e) => e.section > changes.section);
    entries.splice(next < 0 ? entries.length : next, 0, entry);
    return entry;
  }

  /** Add SQL that is run before the data is loaded. */
  addSql(sql: string): TocEntry {
    return this.add({ section: sections.preData, defn: sql });
  }

  /** Replace a table's data by one frame that holds this COPY text. The archive is gzip's. */
  setData(table: string, text: string | Buffer, rows: number): Promise<void> {
    return this.setFrame(table, gzipSync(text), { rows, raw_bytes: Buffer.byteLength(text) });
  }

  /** Replace a table's data by one frame of these bytes. */
  async setFrame(
    table: string,
    data: Buffer,
    { rows, raw_bytes }: { readonly rows: number; readonly raw_bytes: number },
  ): Promise<void> {
    const bytes = { raw_bytes, stored_bytes: data.length };
    const file = this.file(table);
    Object.assign(file, { rows, ...bytes });
    file.frames = [{ offset: 0, rows, ...bytes, sha256: sha256(data), blocks: null }];
    await writeFile(join(this.path, file.name), data);
  }

  /** Write toc.dat and a manifest that fits it. */
  async write(): Promise<string> {
    const toc = writeToc(this.toc);
    const file = this.manifest.files.find((f) => f.name === "toc.dat");
    if (file) Object.assign(file, { stored_bytes: toc.length, sha256: sha256(toc) });
    await writeFile(join(this.path, "toc.dat"), toc);
    await this.writeManifest();
    return this.path;
  }

  /** Write the manifest alone. */
  async writeManifest(): Promise<void> {
    await writeFile(join(this.path, "manifest.json"), manifestText(this.manifest));
    await giveToServer(this.path);
  }

  /** Names of the files in the directory. */
  files(): Promise<string[]> {
    return readdir(this.path);
  }
}
