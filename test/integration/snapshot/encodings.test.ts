import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import { expectNoLeaks } from "../../support/leaks.ts";
import { untilLogged } from "../../support/log.ts";
import type { Row } from "../../support/node.ts";
import { bin, run } from "../../support/pg.ts";
import { lockAfterPgDump } from "../../support/pg-dump.ts";
import { type Server, startServer } from "../../support/server.ts";
import { dropSnapshots, freshPath, problems } from "../../support/snapshots.ts";
import { waitUntil } from "../../support/wait-until.ts";

let server: Server;
let restored = 0;

/** In each encoding the same bytes: é and ÿ in LATIN1, which in UTF8 are no text at all. */
const bytes = String.raw`\xe920ff0a095c2e`;

beforeAll(async () => {
  server = await startServer({ name: "encodings", settings: { max_worker_processes: 16 } });
  for (const encoding of ["LATIN1", "SQL_ASCII"]) {
    const database = { database: encoding.toLowerCase() };
    await server.query(
      `create database ${encoding} encoding '${encoding}' locale 'C' template template0`,
    );
    await server.query("create extension steep_repl cascade", [], database);
    // names and values in the database's own encoding, whatever the client's is
    await server.query(
      `do $$
       declare
         v text := convert_from('${bytes}', getdatabaseencoding());
         name text := convert_from('\\x7461626c655fe9', getdatabaseencoding());
       begin
         execute format('create type %I as enum (%L, ''plain'')', 'mood_' || name, name);
         execute format('create table %I (id int primary key, %I text, moods %I[], j json, c char(9))',
                        name, 'column_' || name, 'mood_' || name);
         execute format('insert into %I values (1, $1, array[%L, ''plain'']::%I[], to_json($1), $2)', name, name, 'mood_' || name)
           using v, name;
         execute format('insert into %I select g, repeat($1, g) from generate_series(2, 500) g', name) using v;
         execute format('comment on table %I is %L', name, v);
         execute format('create schema %I', 'schema_' || name);
         execute format('create table %I.t as select %L::text as v', 'schema_' || name, v);
       end $$`,
      [],
      database,
    );
  }
});
afterAll(() => server.destroy());
afterEach(async () => {
  for (const database of ["latin1", "sql_ascii"]) {
    await dropSnapshots(server, { database });
  }
  for (; restored > 0; restored--)
    await server.query(`drop database if exists restored${restored}`);
  await expectNoLeaks(server);
});

/**
 * Take a snapshot that must succeed; returns its path. Asks for columns in
 * ASCII only: the tests' client wants UTF8, which a SQL_ASCII database cannot give.
 */
async function takeSnapshot(database: string, args = "compression => 'zstd'"): Promise<string> {
  const path = freshPath(server);
  const [queued] = await server.query(
    `select snapshot_id from steep_repl.start_snapshot($1, ${args})`,
    [path],
    { database },
  );
  const [end] = await server.query(
    "select status, error_message from steep_repl.wait_snapshot($1, 50)",
    [queued?.snapshot_id],
    { database },
  );
  expect(end).toEqual({ status: "complete", error_message: null });
  return path;
}

/** Names, comments and rows of all tables as UTF8, or as bytes where no encoding is known. */
async function contents(database: string, as: "text" | "bytes"): Promise<readonly string[]> {
  const client = await server.connect({ database });
  await client.query(
    as === "text" ? "set client_encoding = 'UTF8'" : "set client_encoding = 'SQL_ASCII'",
  );
  const shown =
    as === "text"
      ? (e: string) => e
      : (e: string) => `encode(convert_to(${e}, 'SQL_ASCII'), 'hex')`;
  const { rows: tables } = await client.query<{ oid: string; name: string }>(
    `select c.oid::text, ${shown("c.oid::regclass || ' ' || coalesce(obj_description(c.oid, 'pg_class'), '')")} as name
     from pg_class c join pg_namespace n on n.oid = c.relnamespace
     where c.relkind = 'r' and n.nspname !~ '^pg_' and n.nspname not in ('information_schema', 'steep_repl')`,
  );
  const found: string[] = [];
  for (const { oid, name } of tables) {
    await client.query(
      `do $$ begin execute format('create temp view shown as select t::text as row from %s t', ${oid}::regclass); end $$`,
    );
    const { rows } = await client.query<{ row: string }>(
      `select ${shown("row")} as row from shown`,
    );
    await client.query("drop view shown");
    found.push(...rows.map(({ row }) => `${name}: ${row}`));
  }
  await client.end();
  expect(found.length).toBe(501);
  return found.sort();
}

async function createTarget(encoding: string): Promise<string> {
  const database = `restored${++restored}`;
  await server.query(
    `create database ${database} encoding '${encoding}' locale 'C' template template0`,
  );
  return database;
}

async function restoreInto(encoding: string, path: string): Promise<string> {
  const database = await createTarget(encoding);
  await run(bin("pg_restore"), ["-e", "-j2", "-d", server.uri(database), path]);
  return database;
}

test.each(["none", "zstd"])(
  "a LATIN1 database survives %s, into LATIN1 and UTF8",
  async (codec) => {
    const expected = await contents("latin1", "text");
    expect(expected.join("")).toContain("é ÿ");
    const path = await takeSnapshot("latin1", `compression => '${codec}'`);
    expect(await problems(server, path, { database: "latin1" })).toEqual([]);
    for (const encoding of ["LATIN1", "UTF8"]) {
      expect(await contents(await restoreInto(encoding, path), "text")).toEqual(expected);
    }
  },
);

test("a SQL_ASCII database keeps its bytes", async () => {
  const expected = await contents("sql_ascii", "bytes");
  const path = await takeSnapshot("sql_ascii");
  expect(await problems(server, path, { database: "sql_ascii" })).toEqual([]);
  expect(await contents(await restoreInto("SQL_ASCII", path), "bytes")).toEqual(expected);
});

/** Apply a snapshot into a new database; returns its end. ASCII columns only, as above. */
async function applyInto(encoding: string, path: string): Promise<Row & { database: string }> {
  const database = await createTarget(encoding);
  await server.query("create extension steep_repl cascade", [], { database });
  const [queued] = await server.query(
    "select snapshot_id from steep_repl.start_apply($1)",
    [path],
    { database },
  );
  const [end] = await server.query(
    "select status, error_sqlstate from steep_repl.wait_snapshot($1, 50)",
    [queued?.snapshot_id],
    { database },
  );
  return { ...end, database };
}

test("a LATIN1 snapshot is applied to a LATIN1 and to a UTF8 database", async () => {
  const expected = await contents("latin1", "text");
  const path = await takeSnapshot("latin1");
  for (const encoding of ["LATIN1", "UTF8"]) {
    const end = await applyInto(encoding, path);
    expect(end).toMatchObject({ status: "complete" });
    expect(await contents(end.database, "text")).toEqual(expected);
  }
});

test("a SQL_ASCII snapshot keeps its bytes, and is refused by an encoding in which they mean nothing", async () => {
  const expected = await contents("sql_ascii", "bytes");
  const path = await takeSnapshot("sql_ascii");
  const end = await applyInto("SQL_ASCII", path);
  expect(end).toMatchObject({ status: "complete" });
  expect(await contents(end.database, "bytes")).toEqual(expected);
  expect(await applyInto("UTF8", path)).toMatchObject({
    status: "failed",
    error_sqlstate: "22021",
  });
});

test("text that the target's encoding lacks fails the apply, naming table and frame", async () => {
  await server.createDatabase("euro", { extension: true });
  const euro = { database: "euro" };
  await server.query("create table prices as select '5 €' as v", [], euro);
  const path = await takeSnapshot("euro");
  const end = await applyInto("LATIN1", path);
  expect(end).toMatchObject({ status: "failed", error_sqlstate: "22P05" });
  await untilLogged(server, /loading table public.prices, line 1 of the frame at offset 0/);
  await dropSnapshots(server, euro);
  await server.query("drop database euro");
});

/** The names of the table and of its node, in the database's encoding, as SQL. */
const byName = `
  tables => array(select format('%I.%I', relnamespace::regnamespace, relname) from pg_class where relname ~ '^table_' and relkind = 'r'),
  node_id => (select relname from pg_class where relname ~ '^table_' and relkind = 'r')`;

test.each(["latin1", "sql_ascii"])("in %s a table is found by its name", async (database) => {
  const path = await takeSnapshot(database, byName);
  const listed = await run(bin("pg_restore"), ["-l", path]);
  expect(listed.stdout.match(/ TABLE DATA /g)).toHaveLength(1);
  const [same] = await server.query<{ same: boolean }>(
    "select node_id like 'table%' and octet_length(node_id) = 7 as same from steep_repl.snapshots",
    [],
    { database },
  );
  expect(same).toEqual({ same: true });
});

test.each(["latin1", "sql_ascii"])("in %s the manifest is UTF-8 all the same", async (database) => {
  const path = await takeSnapshot(database, byName);
  const bytes = await readFile(join(path, "manifest.json"));
  const manifest = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes));
  expect(manifest).toMatchObject({ encoding: database.toUpperCase(), node_id: "table_é" });
  expect(manifest.files[1].table).toBe("table_é");
});

test.each(["latin1", "sql_ascii"])("in %s errors name what they are about", async (database) => {
  const [row] = await server.query<{ bytes: string }>(
    "select encode(convert_to(node_id, getdatabaseencoding()), 'hex') as bytes from steep_repl.register_node(convert_from('\\x6ee9', getdatabaseencoding()), 'n')",
    [],
    { database },
  );
  expect(row).toEqual({ bytes: "6ee9" });
  await expect(
    server.query(
      "select steep_repl.start_snapshot('/x', compression => convert_from('\\x6ee9', getdatabaseencoding()))",
      [],
      { database: "latin1" },
    ),
  ).rejects.toMatchObject({ code: "22023", message: 'unknown compression "né"' });
});

test("listeners hear of tables in the database's encoding", async () => {
  const client = await server.connect({ database: "latin1" });
  const heard: string[] = [];
  client.on("notification", (n) => heard.push(n.payload ?? ""));
  await client.query("listen steep_repl_progress");
  const latin1 = { database: "latin1" };
  let taken: Promise<string> | undefined;
  const queue = async () => {
    taken = takeSnapshot("latin1", byName);
  };
  await lockAfterPgDump(server, { ...latin1, table: 'public."table_é"' }, queue, () =>
    waitUntil(
      () => client.query("select 1").then(() => heard.join("\n")),
      (text) => text.includes('"table"'),
      "a table is told about",
    ),
  );
  await taken;
  const tables = heard.map((payload) => JSON.parse(payload).table);
  expect(tables.filter((table) => table !== undefined)).toContain('public."table_é"');
  expect(new Set(tables)).toEqual(new Set([undefined, 'public."table_é"']));
  await client.end();
});
