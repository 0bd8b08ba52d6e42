import { existsSync } from "node:fs";
import { cp, mkdtemp, open, readdir, rm, symlink, truncate, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import type { CliResult } from "../../support/cli.ts";
import { cliHere } from "../../support/cli-here.ts";
import { expectSameFiles, type FetchPair, setFetchPair } from "../../support/fetch.ts";
import { freshPath } from "../../support/snapshots.ts";

let pair: FetchPair;
let here: string;
setFetchPair("fetch-cli", (made) => {
  pair = made;
});
beforeAll(async () => {
  here = await mkdtemp(join(tmpdir(), "steep-download-"));
});
afterAll(() => rm(here, { recursive: true, force: true }));

async function run(code: number, ...args: string[]): Promise<CliResult> {
  const result = await cliHere(args);
  expect(result, `steep-repl ${args.join(" ")}`).toMatchObject({ code });
  return result;
}

const json = async (...args: string[]) => JSON.parse((await run(0, ...args, "--json")).stdout);
const fromB = () => ["-c", `host=127.0.0.1 port=${pair.proxy.port} dbname=postgres user=postgres`];

test("snapshot fetch copies from server to server", async () => {
  const { a, source } = pair;
  const path = freshPath(a);
  const row = await json(
    ...["snapshot", "fetch", source.snapshot_id, "--from", "there", "--output", path],
    ...["--parallel", "1", "--max-rate", "100MB", "-c", a.uri()],
  );
  expect(row).toMatchObject({ operation: "fetch", status: "complete", storage_path: path });
  await expectSameFiles(path, source.storage_path);
  const dropped = await run(0, "snapshot", "drop", row.snapshot_id, "--yes", "-c", a.uri());
  expect(dropped.stderr).toContain(path);
  expect(existsSync(path)).toBe(false);
});

test("snapshot download copies to this machine, and goes on where it was interrupted", async () => {
  const { source, proxy } = pair;
  const output = join(here, "downloaded");
  const args = ["snapshot", "download", source.snapshot_id, "--output", output, ...fromB()];
  // cut for good in the middle of it
  proxy.cutEvery = 3_000_000;
  proxy.staysCut = true;
  const failed = await run(6, ...args, "--parallel", "1", "--reconnect-timeout", "0.1");
  proxy.cutEvery = Number.POSITIVE_INFINITY;
  proxy.staysCut = false;
  proxy.isOpen = true;
  expect(failed.stdout).toBe("");
  expect(await readdir(output)).toContain("manifest.json.tmp");
  const before = proxy.bytes;
  const row = await json(...args);
  expect(row).toMatchObject({ snapshot_id: source.snapshot_id, checksum: source.checksum });
  await expectSameFiles(output, source.storage_path);
  expect(proxy.bytes - before).toBeLessThan(Number(row.size_bytes) - 500_000);
  // once more: all is here
  expect((await run(0, ...args)).stdout).toContain(`${output} on this machine`);
  await expectSameFiles(output, source.storage_path);
});

test("a line that is cut again and again is taken up within a download", async () => {
  const { source, proxy } = pair;
  const output = join(here, "cut");
  proxy.cutEvery = 1_500_000;
  await run(0, "snapshot", "download", source.storage_path, "-o", output, ...fromB());
  proxy.cutEvery = Number.POSITIVE_INFINITY;
  await expectSameFiles(output, source.storage_path);
});

test("a download goes into no directory of something else, and says what is missing", async () => {
  const { source } = pair;
  const other = join(here, "other");
  await cp(source.storage_path, other, { recursive: true });
  await writeFile(join(other, "mine"), "x");
  await rm(join(other, "manifest.json"));
  const into = (output: string, id = source.snapshot_id) => [
    "snapshot",
    "download",
    id,
    "-o",
    output,
    ...fromB(),
  ];
  expect((await run(2, ...into(other))).stderr).toContain("not empty");
  expect((await run(3, ...into(join(here, "none"), "snap_none"))).stderr).toContain(
    "does not exist",
  );
  expect(await run(2, "snapshot", "download", "x")).toMatchObject({ stdout: "" });
  for (const parallel of ["0", "65", "-1"])
    await run(2, ...into(join(here, "none")), "--parallel", parallel);
});

test("what is not what the manifest says ends a download", async () => {
  const { b, source } = pair;
  const copy = freshPath(b);
  await cp(source.storage_path, copy, { recursive: true });
  const [name] = (await readdir(copy)).filter((file) => file.endsWith(".dat.zst"));
  const file = await open(join(copy, `${name}`), "r+");
  await file.write("xxxx", 0);
  await file.close();
  const result = await run(
    3,
    "snapshot",
    "download",
    copy,
    "-o",
    join(here, "damaged"),
    ...fromB(),
  );
  expect(result.stderr).toContain(`file ${name} is not what the manifest says`);
  await truncate(join(copy, `${name}`), 3);
  expect(
    (await run(3, "snapshot", "download", copy, "-o", join(here, "short"), ...fromB())).stderr,
  ).toContain("another length");
  await rm(copy, { recursive: true });
});

test("snapshot verify --local finds what verify_snapshot() finds, without any PostgreSQL", async () => {
  const { b, source } = pair;
  const copy = freshPath(b);
  await cp(source.storage_path, copy, { recursive: true });
  expect((await run(0, "snapshot", "verify", copy, "--local")).stdout).toBe(
    `${copy} on this machine is sound\n`,
  );
  const names = (await readdir(copy)).filter((file) => file.endsWith(".dat.zst")).sort();
  const [changed, short, long, absent, linked] = names.map((name) => join(copy, name));
  if (!changed || !short || !long || !absent || !linked) throw new Error("too few files");
  const file = await open(changed, "r+");
  await file.write("xxxx", 4);
  await file.close();
  await truncate(short, 3);
  await writeFile(long, "x", { flag: "a" });
  await rm(absent);
  await rm(linked);
  await symlink("/etc/passwd", linked);
  await writeFile(join(copy, "extra"), "x");
  const byName = (rows: { file: string }[]) => rows.sort((x, y) => (x.file < y.file ? -1 : 1));
  const found = JSON.parse((await run(1, "snapshot", "verify", copy, "--local", "--json")).stdout);
  const wanted = await b.query<{ file: string }>("select * from steep_repl.verify_snapshot($1)", [
    copy,
  ]);
  expect(wanted).toHaveLength(6);
  expect(byName(found)).toEqual(byName(wanted));
  for (const damage of ["", "{}", "x".repeat(1000)]) {
    await writeFile(join(copy, "manifest.json"), damage);
    expect((await run(1, "snapshot", "verify", copy, "--local")).stdout).toContain("damaged");
  }
  await rm(copy, { recursive: true });
  expect((await run(3, "snapshot", "verify", copy, "--local")).stderr).toContain("no finished");
});

test("snapshot inspect shows what is in it, without any PostgreSQL", async () => {
  const { source } = pair;
  const { stdout } = await run(0, "snapshot", "inspect", source.storage_path);
  expect(stdout).toContain(source.snapshot_id);
  expect(stdout).toContain("toc.dat");
  const shown = await json("snapshot", "inspect", source.storage_path);
  expect(shown.manifest).toMatchObject({
    snapshot_id: source.snapshot_id,
    sha256: source.checksum,
  });
  const tables = shown.files.filter((file: { kind: string }) => file.kind === "data");
  expect(tables).toHaveLength(25);
  expect(shown.contents).toContainEqual(
    expect.objectContaining({
      section: "pre-data",
      type: "TABLE",
      schema: "public",
      name: "🐘",
      owner: "postgres",
    }),
  );
  const listed = await run(0, "snapshot", "inspect", source.storage_path, "--contents");
  expect(listed.stdout).toMatch(/data +TABLE DATA +public +t1 /);
  expect((await run(3, "snapshot", "inspect", here)).stderr).toContain(
    "holds no finished snapshot",
  );
});
