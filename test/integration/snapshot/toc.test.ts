import { mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { bin, inProject, run } from "../../support/pg.ts";
import { createRandom } from "../../support/random.ts";
import { type Server, startServer } from "../../support/server.ts";
import { schemaOf } from "../../support/snapshots.ts";
import { createTestModule } from "../../support/test-module.ts";

/** Objects that the shop lacks and that have entries of their own kind. */
const moreObjects = `
  create schema more;
  create extension hstore schema more;
  create type more.pair as (a int, b text);
  create function more.f(int default 3) returns int language sql as 'select $1';
  create procedure more.p() language plpgsql as $$ begin null; end $$;
  create aggregate more.total(int) (sfunc = int4pl, stype = int);
  create operator more.=== (leftarg = int, rightarg = int, procedure = int4eq);
  create function more.on_ddl() returns event_trigger language plpgsql as $$ begin end $$;
  create event trigger watch on ddl_command_end execute function more.on_ddl();
  create rule no_delete as on delete to shop.open_orders do instead nothing;
  create collation more.german (provider = icu, locale = 'de', deterministic = false);
  create text search configuration more.words (copy = english);
  create cast (more.pair as text) with inout;
  create foreign data wrapper nowhere;
  create server elsewhere foreign data wrapper nowhere;
  create foreign table more.remote (a int) server elsewhere;
  create user mapping for public server elsewhere options (password 'SECRET');
  create publication everything for all tables;
  create subscription feed connection 'password=SECRET' publication p with (connect = false);
  comment on subscription feed is 'SECRET';
  create role reader;
  grant select (id, name) on shop.customers to reader;
  alter default privileges in schema more grant select on tables to reader;
  alter table shop.products cluster on products_pkey;
  alter index shop.products_name alter column 1 set statistics 500;
  create unlogged table more.fleeting (a int);
  create table more.parent (a int primary key, b int references more.parent);
  create table more.child (c int) inherits (more.parent);`;

let server: Server;
let scratch: string;

beforeAll(async () => {
  server = await startServer({ name: "toc" });
  scratch = await mkdtemp(join(tmpdir(), "steep-toc-"));
  await server.createDatabase("shop", { extension: true });
  await createTestModule(server, "shop");
  const shop = await readFile(inProject("test/fixtures/shop.sql"), "utf8");
  await server.query(shop, [], { database: "shop" });
  await server.query(moreObjects, [], { database: "shop" });
});
afterAll(async () => {
  await rm(scratch, { recursive: true, force: true });
  await server.destroy();
});

async function dump(name: string, options: readonly string[]): Promise<string> {
  const file = join(scratch, `${name}.custom`);
  await run(bin("pg_dump"), ["-Fc", "-Z0", `-f${file}`, ...options, server.uri("shop")]);
  return file;
}

async function toDirectory(archive: Buffer, codec: string): Promise<Buffer> {
  const [row] = await server.query<{ toc: Buffer }>(
    "select test_module.toc_to_directory($1, $2) as toc",
    [archive, codec],
    { database: "shop" },
  );
  if (!row) throw new Error("no row");
  return row.toc;
}

async function writeDirectory(name: string, toc: Buffer): Promise<string> {
  const directory = join(scratch, name);
  await rm(directory, { recursive: true, force: true });
  await mkdir(directory);
  await writeFile(join(directory, "toc.dat"), toc);
  return directory;
}

/** The entries as pg_restore lists them, without what is about the file's format. */
async function list(archive: string): Promise<string[]> {
  const { stdout } = await run(bin("pg_restore"), ["-l", archive]);
  return stdout.split("\n").filter((line) => !/^;\s+(Format|Compression):/.test(line));
}

async function sql(archive: string, ...options: readonly string[]): Promise<string> {
  const args = ["-f-", "--restrict-key=test", ...options, archive];
  return (await run(bin("pg_restore"), args)).stdout;
}

const schemaOnly = ["--schema-only", "--no-statistics"];
const optionSets: readonly (readonly string[])[] = [
  schemaOnly,
  ["--schema-only", "--sequence-data", "--no-statistics"],
  ["--no-data", "--statistics"],
  ["--statistics-only"],
  [...schemaOnly, "--no-owner", "--no-privileges", "--no-comments"],
  [...schemaOnly, "--create", "--clean", "--if-exists"],
  [...schemaOnly, "--quote-all-identifiers"],
  [...schemaOnly, "--no-tablespaces", "--no-table-access-method", "--no-toast-compression"],
  [...schemaOnly, "--section=pre-data"],
  [...schemaOnly, "--section=post-data"],
  [...schemaOnly, "--section=data", "--sequence-data"],
  [...schemaOnly, "--schema=shop"],
  [...schemaOnly, "--table=shop.ord*"],
  [...schemaOnly, "--encoding=SQL_ASCII"],
  [...schemaOnly, "--no-publications", "--no-subscriptions", "--no-policies"],
];

test.each(optionSets.map((options) => [options.join(" "), options] as const))(
  "pg_restore reads the same from the directory: %s",
  async (_, options) => {
    const custom = await dump("same", options);
    const directory = await writeDirectory(
      "same",
      await toDirectory(await readFile(custom), "zstd"),
    );
    expect(await list(directory)).toEqual(await list(custom));
    expect(await sql(directory)).toBe(await sql(custom));
    expect(await sql(directory, "--clean", "--create")).toBe(
      await sql(custom, "--clean", "--create"),
    );
  },
);

test.each([
  ["none", "none"],
  ["gzip", "gzip"],
  ["lz4", "lz4"],
  ["zstd", "zstd"],
])("the header names %s as the compression", async (codec, name) => {
  const custom = await dump("codec", schemaOnly);
  const directory = await writeDirectory("codec", await toDirectory(await readFile(custom), codec));
  const { stdout } = await run(bin("pg_restore"), ["-l", directory]);
  expect(stdout).toContain(`Compression: ${name}\n`);
  expect(stdout).toContain("Format: DIRECTORY\n");
});

test("reading what was written gives the same bytes", async () => {
  const custom = await readFile(await dump("again", schemaOnly));
  const toc = await toDirectory(custom, "lz4");
  expect(await toDirectory(toc, "lz4")).toEqual(toc);
});

test("a restored directory dumps to the same schema", async () => {
  const options = [...schemaOnly, "--no-subscriptions", "--exclude-extension=steep_repl"];
  const own = [...options, "--exclude-schema=steep_repl"];
  const custom = await dump("restore", own);
  const directory = await writeDirectory(
    "restore",
    await toDirectory(await readFile(custom), "gzip"),
  );
  await server.createDatabase("restored");
  // with -j its workers may deadlock: one attaches an index while one adds a foreign key
  await run(bin("pg_restore"), ["-d", server.uri("restored"), directory]);

  expect(await schemaOf(server, "restored")).toEqual(await schemaOf(server, "shop"));
});

/** What an archive's entries are and are called; their numbers differ from dump to dump. */
async function names(archive: string): Promise<string[]> {
  const entries = (await list(archive)).filter((line) => /^\d/.test(line));
  return entries.map((line) => line.replace(/^\d+; \d+ \d+ /, "")).sort();
}

test("a snapshot lists what pg_dump lists, but no secrets and nothing of ours", async () => {
  const session = await server.connect({ database: "shop" });
  const snapshot = join(server.snapshotDir, "shop");
  const { rows } = await session.query(
    "select snapshot_id as id from steep_repl.start_snapshot($1)",
    [snapshot],
  );
  const ended = await session.query("select status from steep_repl.wait_snapshot($1)", [
    rows[0].id,
  ]);
  expect(ended.rows).toEqual([{ status: "complete" }]);
  await session.end();

  const pgDump = join(scratch, "pg_dump");
  const options = ["--exclude-extension=steep_repl", "--exclude-schema=steep_repl"];
  await run(bin("pg_dump"), ["-Fd", `-f${pgDump}`, ...options, server.uri("shop")]);
  const unwanted =
    /^(USER MAPPING|SUBSCRIPTION|COMMENT - SUBSCRIPTION|(COMMENT - )?EXTENSION -? ?steep_repl)/;
  expect(await names(snapshot)).toEqual(
    (await names(pgDump)).filter((name) => !unwanted.test(name)),
  );
  expect(await readFile(join(snapshot, "toc.dat"), "latin1")).not.toContain("SECRET");
});

test("an archive that holds data is refused", async () => {
  const custom = await readFile(await dump("data", ["--table=shop.categories"]));
  await expect(toDirectory(custom, "zstd")).rejects.toMatchObject({ code: "XX001" });
});

test("an archive of another version is refused with a hint", async () => {
  const custom = await readFile(await dump("version", schemaOnly));
  custom[6] = 15;
  await expect(toDirectory(custom, "zstd")).rejects.toMatchObject({
    code: "0A000",
    message: "archive version 1.15 is not supported",
    hint: expect.stringContaining("steep_repl.pg_dump_path"),
  });
});

test("what is no archive is refused, and where it ends is told", async () => {
  for (const bytes of ["", "P", "PGDMP", "PGDMX".repeat(100), "\0".repeat(1000)]) {
    await expect(toDirectory(Buffer.from(bytes), "zstd")).rejects.toMatchObject({
      code: expect.stringMatching(/XX001|0A000/),
    });
  }
  await expect(toDirectory(Buffer.from("PGDMP"), "zstd")).rejects.toMatchObject({
    detail: "The damage is at or before byte 5 of 5.",
  });
});

test("a codec that there is not is refused", async () => {
  await expect(toDirectory(Buffer.alloc(0), "ZSTD")).rejects.toMatchObject({ code: "22023" });
});

/** Runs the function on many variants of one archive in one statement, counting the outcomes. */
const outcomesSql = `
  create function outcomes(archives bytea[]) returns table (outcome text, times bigint)
  language plpgsql as $$
  declare
    archive bytea;
    seen text[];
  begin
    foreach archive in array archives loop
      begin
        perform test_module.toc_to_directory(archive, 'zstd');
        seen := seen || 'read'::text;
      exception when others then
        seen := seen || sqlstate::text;
      end;
    end loop;
    return query select o, count(*) from unnest(seen) o group by o;
  end $$`;

async function outcomes(archives: readonly Buffer[]): Promise<Map<string, number>> {
  const rows = await server.query<{ outcome: string; times: string }>(
    "select * from outcomes($1)",
    [archives],
    { database: "shop" },
  );
  return new Map(rows.map((row) => [row.outcome, Number(row.times)]));
}

function add(total: Map<string, number>, more: Map<string, number>): void {
  for (const [outcome, times] of more) total.set(outcome, (total.get(outcome) ?? 0) + times);
}

test("mangled archives give an error or a table of contents, never a crash", async () => {
  await server.query(outcomesSql, [], { database: "shop" });
  const custom = await readFile(await dump("mangled", [...schemaOnly, "--schema=more"]));
  const [started] = await server.query("select pg_postmaster_start_time()::text as at");
  const random = createRandom();

  const truncated = new Map<string, number>();
  for (let end = 0; end < custom.length; end += 500) {
    const archives = Array.from({ length: Math.min(500, custom.length - end) }, (_, i) =>
      custom.subarray(0, end + i),
    );
    add(truncated, await outcomes(archives));
  }
  expect(truncated).toEqual(new Map([["XX001", custom.length]]));

  const flipped = new Map<string, number>();
  for (let round = 0; round < 20; round++) {
    const archives = Array.from({ length: 250 }, () => {
      const archive = Buffer.from(custom);
      for (let n = random.int(1, 4); n > 0; n--) {
        const value = random.pick([0, 1, 127, 128, 255, random.int(0, 255)]);
        archive[random.int(0, archive.length - 1)] = value;
      }
      return archive;
    });
    add(flipped, await outcomes(archives));
  }
  expect([...flipped.keys()].sort()).toEqual(expect.arrayContaining(["XX001", "read"]));
  for (const outcome of flipped.keys()) expect(outcome).toMatch(/^(read|XX001|0A000)$/);

  expect(await server.query("select pg_postmaster_start_time()::text as at")).toEqual([started]);
  expect(await server.log()).not.toContain("was terminated by signal");
});
