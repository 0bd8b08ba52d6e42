import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import { applySnapshot, retryApply, runApply } from "../../support/apply.ts";
import { expectNoLeaks } from "../../support/leaks.ts";
import { bin, run } from "../../support/pg.ts";
import { type Server, startServer } from "../../support/server.ts";
import { restore, type SnapshotRow, takeSnapshot, withoutOurs } from "../../support/snapshots.ts";

// Rows whose partition depends on oids, encodings or bounds belong into other partitions of another database.

let server: Server;
let snapshot: SnapshotRow;
const source = { database: "source" };
const target = { database: "target" };

/** Those that are loaded through their root; of deep only what is below its first partition. */
const moving = [
  "by_array",
  "by_composite",
  "by_domain",
  "by_enum",
  "by_name",
  "by_place",
  "by_range",
  "deep",
];
const staying = ["by_number", "by_order", "by_text"];

const hashed = (table: string, columns: string, key: string) => `
  create table ${table} (${columns}) partition by hash (${key});
  create table ${table}_0 partition of ${table} for values with (modulus 2, remainder 0);
  create table ${table}_1 partition of ${table} for values with (modulus 2, remainder 1);`;

// the names are made in the other order, so that their oids are
const schema = `
  create type mood as enum ('a', 'b', 'c', 'd', 'e', 'f', 'g', 'h', 'i', 'j', 'k', 'l');
  create domain feeling as mood; create type pair as (m mood, n int); create type moods as range (subtype = mood);
  create table aa_5 (); create table aa_4 (); create table aa_3 (); create table aa_2 (); create table aa_1 ();
  ${hashed("by_enum", "m mood, n int", "m")}
  ${hashed("by_domain", "m feeling", "m")}
  ${hashed("by_array", "n int, m mood[]", "n, m")}
  ${hashed("by_composite", "p pair", "p")}
  ${hashed("by_range", "r moods", "r")}
  ${hashed("by_name", "c regclass", "c")}
  ${hashed("by_number", "n int", "n")}
  ${hashed("by_text", "t text", "t")}
  create table by_order (m mood) partition by range (m);
  create table by_order_0 partition of by_order for values from (minvalue) to ('e');
  create table by_order_1 partition of by_order for values from ('e') to (maxvalue);
  create table by_place (c regclass) partition by range (c);
  create table by_place_0 partition of by_place for values from (minvalue) to ('aa_3');
  create table by_place_1 partition of by_place for values from ('aa_3') to (maxvalue);
  create table deep (k int, m mood) partition by list (k);
  create table deep_1 partition of deep for values in (1) partition by hash (m);
  create table deep_1_0 partition of deep_1 for values with (modulus 2, remainder 0);
  create table deep_1_1 partition of deep_1 for values with (modulus 2, remainder 1);
  create table deep_2 partition of deep for values in (2);
  insert into by_enum select m, n from unnest(enum_range(null::mood)) m, generate_series(1, 1000) n;
  insert into by_domain select unnest(enum_range(null::mood));
  insert into by_array select n, array[m] from unnest(enum_range(null::mood)) m, generate_series(1, 3) n;
  insert into by_composite select row(m, 1)::pair from unnest(enum_range(null::mood)) m;
  insert into by_range select moods(m, null) from unnest(enum_range(null::mood)) m;
  insert into by_name select ('aa_' || n)::regclass from generate_series(1, 5) n;
  insert into by_place select ('aa_' || n)::regclass from generate_series(1, 5) n;
  insert into by_order select unnest(enum_range(null::mood));
  insert into by_number select generate_series(1, 20); insert into by_text select generate_series(1, 20);
  insert into deep select k, m from unnest(enum_range(null::mood)) m, generate_series(1, 2) k;`;

beforeAll(async () => {
  server = await startServer({ name: "partitions", settings: { max_worker_processes: 16 } });
  await server.createDatabase("source", { extension: true });
  await server.query(schema, [], source);
  snapshot = await takeSnapshot(server, source);
});
afterAll(() => server.destroy());
afterEach(async () => {
  await server.query("drop database if exists target with (force)");
  await expectNoLeaks(server, { files: [snapshot.storage_path.split("/").at(-1) ?? ""] });
});

/** Rows and a digest of each partitioned table, and which of its partitions have some. */
async function contents(database: string, tables = [...moving, ...staying]) {
  const result: Record<string, unknown> = {};
  for (const table of tables) {
    const [row] = await server.query(
      `select count(*)::int, sum(hashtext(t::text)::bigint)::text as digest from ${table} t`,
      [],
      { database },
    );
    result[table] = row;
  }
  return result;
}

/** What the statements of an archive copy into. */
async function copied(archive: string): Promise<readonly string[]> {
  const { stdout } = await run(bin("pg_restore"), ["-f", "-", archive]);
  return [...stdout.matchAll(/^COPY public\.(\w+) \(/gm)].map(([, name]) => name ?? "").sort();
}

test("partitions are loaded through their root where pg_dump does, and where oids place rows otherwise", async () => {
  const stock = `${server.home}/stock`;
  await run(bin("pg_dump"), ["-Fd", "-f", stock, ...withoutOurs, server.uri("source")]);
  const names = await copied(snapshot.storage_path);
  const roots = names.filter((name) => !/_\d$/.test(name));
  expect([...new Set(roots)]).toEqual(moving);
  const pgDumps = (await copied(stock)).filter((name) => !/_\d$/.test(name));
  expect([...new Set(pgDumps)]).toEqual(["by_domain", "by_enum", "deep"]);
  expect(names.filter((name) => name.startsWith("deep"))).toEqual(["deep", "deep", "deep_2"]);
});

test("pg_restore and an apply put each row where it belongs", async () => {
  const expected = await contents("source");
  await restore(server, snapshot, "target");
  expect(await contents("target")).toEqual(expected);
  await server.query("drop database target");
  await server.createDatabase("target", { extension: true });
  const row = await applySnapshot(server, snapshot.storage_path, target);
  expect(row).toMatchObject({ rows_written: "12158", warnings: null });
  expect(await contents("target")).toEqual(expected);
});

test("one partition by name becomes a table of its own, as does one whose root is not in the snapshot", async () => {
  const alone = await takeSnapshot(server, { ...source, args: "tables => '{public.by_enum_0}'" });
  expect(await copied(alone.storage_path)).toEqual(["by_enum_0"]);
  await server.query("select steep_repl.drop_snapshot($1)", [alone.snapshot_id], source);

  await server.createDatabase("target", { extension: true });
  await server.query("create type mood as enum ('a')", [], target);
  await server.query("drop type mood", [], target);
  await applySnapshot(server, snapshot.storage_path, {
    ...target,
    args: "tables => '{public.by_number_0}'",
  });
  expect(await contents("target", ["by_number_0"])).toEqual(
    await contents("source", ["by_number_0"]),
  );
});

test("partitions with other bounds than the snapshot's are loaded through their root", async () => {
  await server.createDatabase("target", { extension: true });
  const data = {
    ...target,
    args: "sections => '{data}', tables => '{public.by_text,public.by_number}'",
  };
  await server.query(
    `create table by_text (t text) partition by hash (t);
     create table by_text_0 partition of by_text for values with (modulus 2, remainder 1);
     create table by_text_1 partition of by_text for values with (modulus 2, remainder 0);
     create table by_number (n int) partition by range (n);
     create unlogged table by_number_0 partition of by_number for values from (0) to (10);
     create table by_number_1 partition of by_number for values from (10) to (100)`,
    [],
    target,
  );
  const refused = await runApply(server, snapshot.storage_path, data);
  expect(refused).toMatchObject({ status: "failed", error_sqlstate: "0A000" });
  expect(refused.error_message).toMatch(
    /rows of table public.by_number_\d belong into other partitions/,
  );
  expect(refused.error_hint).toContain("LOGGED");
  await server.query("alter table by_number_0 set logged; truncate by_text, by_number", [], target);
  await applySnapshot(server, snapshot.storage_path, data);
  const tables = ["by_text", "by_number"];
  expect(await contents("target", tables)).toEqual(await contents("source", tables));
  expect(await server.log()).toMatch(/loads table public.by_text_\d through its partition root/);
});

test("where it cannot be told which rows an unlogged partition has lost, nothing is loaded twice", async () => {
  await server.createDatabase("target", { extension: true });
  const tables = "tables => '{public.by_enum,public.by_number}', parallel => 1";
  await server.query(
    "create type mood as enum ('a', 'b', 'c', 'd', 'e', 'f', 'g', 'h', 'i', 'j', 'k', 'l')",
    [],
    target,
  );
  await applySnapshot(server, snapshot.storage_path, {
    ...target,
    args: `sections => '{pre-data}', ${tables}`,
  });
  await server.query(
    "alter table by_enum_0 set unlogged; alter table by_number add constraint small check (n < 5)",
    [],
    target,
  );
  const row = await runApply(server, snapshot.storage_path, {
    ...target,
    args: `sections => '{data}', ${tables}`,
  });
  expect(row).toMatchObject({ status: "failed", error_sqlstate: "23514" });
  await server.query("alter table by_number drop constraint small", [], target);
  const retried = await retryApply(server, row, target);
  expect(retried).toMatchObject({ status: "failed", error_sqlstate: "55000" });
  expect(retried.error_message).toMatch(/which rows of table public.by_enum_\d were loaded before/);
  expect(await contents("target", ["by_enum"])).toEqual(await contents("source", ["by_enum"]));
});

test("rows that another encoding places otherwise are loaded through their root", async () => {
  await server.query("create database latin encoding 'LATIN1' locale 'C' template template0");
  await server.query(
    `create extension steep_repl cascade; ${hashed("by_text", "t text", "t")}
     insert into by_text select chr(n) || n from generate_series(192, 255) n`,
    [],
    { database: "latin" },
  );
  const latin = await takeSnapshot(server, { database: "latin" });
  await server.createDatabase("target", { extension: true });
  await applySnapshot(server, latin.storage_path, target);
  expect(
    await server.query(
      "select count(*)::int, count(distinct t)::int as n from by_text",
      [],
      target,
    ),
  ).toEqual([{ count: 64, n: 64 }]);
  await server.query("select steep_repl.drop_snapshot($1)", [latin.snapshot_id], {
    database: "latin",
  });
  await server.query("drop database latin with (force)");
});

test("the right to insert is needed on the root, where that is what is loaded", async () => {
  await server.createDatabase("target", { extension: true });
  const sections = (names: string) => ({
    ...target,
    args: `sections => '{${names}}', tables => '{public.by_enum}'`,
  });
  await server.query(
    `create type mood as enum ('l', 'k', 'j', 'i', 'h', 'g', 'f', 'e', 'd', 'c', 'b', 'a');
     create role loader login; grant pg_read_server_files to loader;
     grant usage on schema steep_repl to loader;
     grant select, insert, update, delete on all tables in schema steep_repl to loader`,
    [],
    target,
  );
  await applySnapshot(server, snapshot.storage_path, sections("pre-data"));
  const refused = await runApply(server, snapshot.storage_path, {
    ...sections("data"),
    user: "loader",
  });
  expect(refused).toMatchObject({ status: "failed", error_sqlstate: "42501" });
  expect(refused.error_message).toMatch(/permission denied to load tables: (public\.)?by_enum$/);
  await server.query("grant insert on by_enum to loader", [], target);
  await applySnapshot(server, snapshot.storage_path, { ...sections("data"), user: "loader" });
  expect(await contents("target", ["by_enum"])).toEqual(await contents("source", ["by_enum"]));
  await server.query("drop owned by loader", [], target);
  await server.query("drop database target with (force)");
  await server.query("drop owned by loader; drop role loader");
});
