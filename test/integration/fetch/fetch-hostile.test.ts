import { createHash } from "node:crypto";
import { link, mkdir, readdir, readFile, rm, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import { type FetchRow, runFetch } from "../../support/fetch.ts";
import { expectNoLeaks } from "../../support/leaks.ts";
import { type Server, startServer } from "../../support/server.ts";
import { endOf, freshPath, takeSnapshot } from "../../support/snapshots.ts";

/*
 * A peer whose superuser has made functions of his own in place of ours. Whatever they answer, a fetch ends with an error
 * that says so, writes nothing outside of its directory, and removes nothing that is not ours.
 */

let a: Server;
let b: Server;
let peer: string;
/** of a sound snapshot */
let files: Map<string, Buffer>;
let canary: string;

interface File {
  [member: string]: unknown;
  name: string;
  stored_bytes: number;
  frames: Record<string, unknown>[];
}
interface Manifest {
  [member: string]: unknown;
  files: File[];
}

beforeAll(async () => {
  [a, b] = await Promise.all([
    startServer({ name: "fetch-hostile" }),
    startServer({ name: "fetch-hostile-b", identity: "peer" }),
  ]);
  await a.query("create extension steep_repl cascade");
  await b.query(
    "create extension steep_repl cascade; create table t as select g, md5(g::text) from generate_series(1, 50000) g",
  );
  const source = await takeSnapshot(b);
  const names = await readdir(source.storage_path);
  files = new Map(
    await Promise.all(
      names.map(async (name) => [name, await readFile(join(source.storage_path, name))] as const),
    ),
  );
  await b.query("create database evil");
  await b.query(
    `create schema steep_repl; create table source (path text, bytes text, sha256 text); create table files (name text, bytes bytea);
     insert into source values ('/x', '', '');
     create function fail(state text) returns bytea language plpgsql as $fn$ begin raise exception 'no' using errcode = state; end $fn$;
     create function steep_repl._snapshot_source(snapshot text, out path text, out manifest_bytes text, out manifest_sha256 text)
     language sql as 'select path, bytes, sha256 from public.source'`,
    [],
    { database: "evil" },
  );
  peer = `host=127.0.0.1 port=${b.port} dbname=evil user=postgres`;
  canary = `${a.snapshotDir}/canary`;
  await mkdir(canary);
  await writeFile(join(canary, "toc.dat"), "mine");
});
afterAll(async () => {
  await a.destroy();
  await b.destroy();
});
afterEach(async () => {
  expect(await a.query("select 1 as up")).toEqual([{ up: 1 }]);
  expect(await a.log()).not.toMatch(/signal 11|signal 6|PANIC|TRAP|was terminated by/);
  for (const { snapshot_id } of await a.query<{ snapshot_id: string }>(
    "select snapshot_id from steep_repl.snapshots",
  ))
    await a.query("select steep_repl.drop_snapshot($1)", [snapshot_id]);
  await expectNoLeaks(a, { files: ["canary"] });
  expect(await readFile(join(canary, "toc.dat"), "utf8")).toBe("mine");
});

const evil = (sql: string, params: unknown[] = []) => b.query(sql, params, { database: "evil" });
const honest = "select substr(bytes, start::int + 1, length) from public.files where name = file";

/** An honest answer for one file, and another for the others. */
const butFor = (file: string, instead: string) =>
  `select case when file = '${file}' then p.piece else ${instead} end from (${honest}) p(piece)`;

/** What a piece is answered with. */
async function answerPieces(body: string, returns = "bytea"): Promise<void> {
  await evil(
    `drop function if exists steep_repl._snapshot_piece;
     create function steep_repl._snapshot_piece(path text, file text, start bigint, length int) returns ${returns}
     language sql as $fn$ ${body} $fn$`,
  );
}

/** A manifest's text, with the digest at its end. */
function sealed(manifest: object): Buffer {
  const { sha256: _, ...rest } = manifest as Record<string, unknown>;
  const text = Buffer.from(`${JSON.stringify(rest).slice(0, -1)},`);
  const digest = createHash("sha256").update(text).digest("hex");
  return Buffer.concat([text, Buffer.from(`"sha256":"${digest}"}\n`)]);
}

const sound = () => JSON.parse(String(files.get("manifest.json"))) as Manifest;
const hex = (bytes: Buffer) => createHash("sha256").update(bytes).digest("hex");

/** Have the peer answer this manifest, with the sound snapshot's files. */
async function serve(manifest: Buffer, bytes = String(manifest.length)): Promise<void> {
  await evil("truncate files; delete from files");
  for (const [name, content] of [...files, ["manifest.json", manifest] as const])
    if (name !== "manifest.json" || content === manifest)
      await evil("insert into files values ($1, $2)", [name, content]);
  await evil("update source set path = '/x', bytes = $1, sha256 = $2", [bytes, hex(manifest)]);
  await answerPieces(honest);
}

const go = (path = freshPath(a)) => runFetch(a, peer, "x", { path });

test("what an honest one answers is fetched", async () => {
  await serve(files.get("manifest.json") ?? Buffer.alloc(0));
  expect(await go()).toMatchObject({ status: "complete", error_message: null });
});

/** SQLSTATE, and what comes instead of `p.piece`. */
const pieces = {
  "other bytes": ["XX001", "set_byte(p.piece, 0, 7)"],
  "too few bytes": ["08P01", "substr(p.piece, 2)"],
  "too many bytes": ["08P01", "p.piece || p.piece"],
  "fifty times what was asked for": ["08P01", "decode(repeat('00', 50000000), 'hex')"],
  nothing: ["08P01", "null::bytea"],
  "an error": ["22012", "public.fail('22012')"],
  "an error that looks like a cancel": ["57000", "public.fail('57014')"],
} as const;
test.each(Object.entries(pieces))("a piece that has %s ends it", async (_, [sqlstate, instead]) => {
  await serve(sealed(sound()));
  await answerPieces(butFor("manifest.json", instead));
  expect(await go()).toMatchObject({ status: "failed", error_sqlstate: sqlstate });
});

test("pieces that are no bytes, or several rows, end it", async () => {
  await serve(sealed(sound()));
  for (const [body, returns] of [
    ["select 'x'::text", "text"],
    ["select bytes from public.files", "setof bytea"],
  ] as const) {
    await answerPieces(body, returns);
    expect(await go()).toMatchObject({ status: "failed", error_sqlstate: "08P01" });
  }
});

test.each(["999999999999", "-5", "x", "", "0", "268435457", "1e3", "12345678901234567890"])(
  "a manifest of %s bytes is refused before it is asked for",
  async (bytes) => {
    await serve(sealed(sound()), bytes);
    const row = await go();
    expect(row).toMatchObject({
      status: "failed",
      error_message: expect.stringContaining("peer:"),
    });
  },
);

const data = (m: Manifest) => m.files.find((file) => file.kind === "data") as File;
function having(m: Manifest, target: object, members: object): Manifest {
  Object.assign(target, members);
  return m;
}
const wrong: Record<string, (m: Manifest) => object> = {
  "a way up": (m) => ({ ...m, files: [...m.files, { ...m.files[0], name: "../canary/toc.dat" }] }),
  "an absolute path": (m) => ({
    ...m,
    files: [...m.files, { ...m.files[0], name: "/tmp/toc.dat" }],
  }),
  "the marker": (m) => ({ ...m, files: [...m.files, { ...m.files[0], name: ".steep_repl" }] }),
  "the manifest": (m) => ({ ...m, files: [...m.files, { ...m.files[0], name: "manifest.json" }] }),
  "the unfinished manifest": (m) => ({
    ...m,
    files: [...m.files, { ...m.files[0], name: "manifest.json.tmp" }],
  }),
  "a name of nobody's": (m) => ({ ...m, files: [...m.files, { ...m.files[0], name: "evil.so" }] }),
  "a long name": (m) => ({
    ...m,
    files: [...m.files, { ...m.files[0], name: `${"1".repeat(300)}.dat` }],
  }),
  "a name twice": (m) => ({ ...m, files: [...m.files, m.files[0]] }),
  "no contents": (m) => ({ ...m, files: m.files.filter((file) => file.name !== "toc.dat") }),
  "no files": (m) => ({ ...m, files: [] }),
  "a negative size": (m) => having(m, data(m), { stored_bytes: -1 }),
  "a size without end": (m) => having(m, data(m), { stored_bytes: 1e30 }),
  "frames that overlap": (m) =>
    having(m, data(m), { frames: [...data(m).frames, ...data(m).frames] }),
  "frames beyond the file": (m) => having(m, data(m).frames[0] ?? {}, { offset: 5 }),
  "more bytes than there are": (m) => ({
    ...m,
    files: [
      ...m.files,
      ...["1", "2", "3"].map((n) => ({ ...m.files[0], name: `${n}.dat`, stored_bytes: 2 ** 62 })),
    ],
  }),
  "more than the disk has": (m) => ({
    ...m,
    files: [...m.files, { ...m.files[0], name: "1.dat", stored_bytes: 2 ** 52 }],
  }),
  "a digest that is none": (m) => having(m, data(m).frames[0] ?? {}, { sha256: "x" }),
  "another position": (m) => ({ ...m, lsn: "'; drop table x; --" }),
  "another format": (m) => ({ ...m, format_version: 99 }),
  nothing: () => ({}),
};
test.each(Object.entries(wrong))("a manifest with %s is refused", async (_, change) => {
  await serve(sealed(change(sound())));
  const row = await go();
  expect(row).toMatchObject({ status: "failed", phase: "planning" });
  expect(row.error_message).not.toBe(null);
});

test("a manifest that is no text, or whose digest is wrong, is refused", async () => {
  for (const manifest of [
    Buffer.alloc(5000, 0xff),
    Buffer.from(String(files.get("manifest.json")).replace('"zstd"', '"gzip"')),
    Buffer.from("["),
  ]) {
    await serve(manifest);
    expect(await go()).toMatchObject({ status: "failed", error_sqlstate: "XX001" });
  }
});

async function retry(row: FetchRow): Promise<FetchRow> {
  await a.query("select steep_repl.retry_operation($1, $2)", [row.operation_id, peer]);
  return (await endOf(a, row)) as FetchRow;
}

test("another manifest than before is refused when a job goes on, and the right one is not", async () => {
  await serve(sealed(sound()));
  await answerPieces(butFor("manifest.json", "null"));
  const row = await go();
  expect(row).toMatchObject({ status: "failed", error_sqlstate: "08P01" });
  await serve(sealed({ ...sound(), snapshot_id: "snap_other" }));
  expect(await retry(row)).toMatchObject({ status: "failed", error_sqlstate: "55000" });
  await serve(sealed(sound()));
  expect(await retry(row)).toMatchObject({ status: "complete" });
});

test("links that somebody put into the directory are not written through", async () => {
  await serve(sealed(sound()));
  await answerPieces(butFor("manifest.json", "null"));
  const row = await go();
  expect(row).toMatchObject({ status: "failed" });
  await serve(sealed(sound()));
  for (const put of [symlink, link]) {
    await rm(join(row.storage_path, "toc.dat"), { force: true });
    await put(join(canary, "toc.dat"), join(row.storage_path, "toc.dat"));
    expect(await retry(row)).toMatchObject({ status: "failed" });
    expect(await readFile(join(canary, "toc.dat"), "utf8")).toBe("mine");
  }
  await rm(join(row.storage_path, "toc.dat"));
  expect(await retry(row)).toMatchObject({ status: "complete" });
});
