import type { Client } from "pg";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import { applySnapshot } from "../../support/apply.ts";
import { expectNoLeaks } from "../../support/leaks.ts";
import { hasOldStrings } from "../../support/old-strings.ts";
import { bin, run } from "../../support/pg.ts";
import { type Server, startServer } from "../../support/server.ts";
import { problems, restore, type SnapshotRow, takeSnapshot } from "../../support/snapshots.ts";
import { builtinValuesOf, contribValues, typesWithoutInput } from "../../support/type-values.ts";

let server: Server;
let expected: Contents;
let restored = 0;

/**
 * Settings of the database and of the role that change what a value looks like
 * as text, or how names and statements read.
 */
const hostileSettings = [
  "alter database types set DateStyle = 'German, DMY'",
  "alter database types set IntervalStyle = 'sql_standard'",
  "alter database types set bytea_output = 'escape'",
  "alter database types set extra_float_digits = -15",
  "alter database types set TimeZone = '<+1245>-12:45'",
  "alter database types set quote_all_identifiers = on",
  "alter database types set xmlbinary = 'hex'",
  "alter database types set array_nulls = off",
  "alter role taker in database types set DateStyle = 'SQL, MDY'",
  "alter role taker in database types set IntervalStyle = 'iso_8601'",
  "alter role taker in database types set TimeZone = 'America/St_Johns'",
  "alter role taker in database types set client_encoding = 'LATIN1'",
  "alter role taker in database types set search_path = 'hostile, public'",
  "alter role postgres in database types set DateStyle = 'Postgres, DMY'",
  "alter role postgres in database types set TimeZone = 'Asia/Kathmandu'",
];

/** What every comparison is made under. */
const neutralSettings = `
  set DateStyle = 'ISO, YMD'; set IntervalStyle = 'postgres'; set bytea_output = 'hex';
  set extra_float_digits = 3; set TimeZone = 'UTC'; set client_encoding = 'UTF8'; set lc_monetary = 'C';
  set quote_all_identifiers = off; set standard_conforming_strings = on; set array_nulls = on; set search_path = public`;

beforeAll(async () => {
  server = await startServer({ name: "types", settings: { max_worker_processes: 16 } });
  await server.query("create role taker login in role pg_read_all_data, pg_write_server_files");
  await server.createDatabase("types", { extension: true });
  const client = await server.connect({ database: "types" });
  await client.query(neutralSettings);
  await client.query(
    "grant usage on schema steep_repl to taker; grant select, insert, update, delete on all tables in schema steep_repl to taker",
  );
  for (const [type, values] of Object.entries(await builtinValuesOf(server))) {
    await makeTable(client, `pg_catalog."${type}"`, `builtin_${type}`, values);
  }
  await makeContrib(client);
  await client.query(constructed);
  await client.query(hostileNames);
  await client.query(oddColumns);
  await client.query("vacuum");
  await client.end();
  for (const setting of hostileSettings) await server.query(setting);
  if (await hasOldStrings(server))
    await server.query("alter database types set standard_conforming_strings = off");
  expected = await contents("types");
});
afterAll(() => server.destroy());
afterEach(async () => {
  await server.query(
    "select steep_repl.drop_snapshot(snapshot_id) from steep_repl.snapshots where status not in ('pending', 'running')",
    [],
    { database: "types" },
  );
  for (; restored > 0; restored--)
    await server.query(`drop database if exists restored${restored}`);
  await expectNoLeaks(server);
});

/** A table with each value in a row, and in arrays of several shapes where there is an array type. */
async function makeTable(
  client: Client,
  type: string,
  table: string,
  values: readonly string[],
): Promise<void> {
  const { rows } = await client.query<{ delimiter: string; array: boolean }>(
    `select typdelim as delimiter, typarray <> 0 as "array" from pg_type where oid = '${type}'::regtype`,
  );
  const [{ delimiter, array } = { delimiter: ",", array: false }] = rows;
  await client.query(`create table "${table}" (id int generated always as identity, v ${type})`);
  for (const value of [...values, null]) {
    await client.query(`insert into "${table}" (v) values ($1)`, [value]);
  }
  if (!array) return;
  await client.query(`create table "${table}_array" (v ${type}[])`);
  for (const literal of arrayLiterals(values, delimiter)) {
    await client.query(`insert into "${table}_array" values ($1)`, [literal]);
  }
}

function arrayLiterals(values: readonly string[], delimiter: string): readonly string[] {
  const items = values.map((value) => `"${value.replace(/[\\"]/g, "\\$&")}"`);
  const row = `{${items.join(delimiter)}${delimiter}NULL}`;
  const bounds = `[0:1][-3:${items.length - 3}]`;
  return [
    "{}",
    row,
    "{NULL}",
    `{${row}${delimiter}${row}}`,
    `${bounds}={${row}${delimiter}${row}}`,
  ];
}

async function makeContrib(client: Client): Promise<void> {
  const { rows } = await client.query<{ name: string }>(
    "select name from pg_available_extensions where name = any ($1)",
    [Object.keys(contribValues)],
  );
  for (const { name } of rows) {
    await client.query(`create extension ${name}`);
    await makeTable(client, `public.${name}`, `contrib_${name}`, contribValues[name] ?? []);
  }
}

/** Types made of other types, each alone, in arrays, and in each other. */
const constructed = `
  create type mood as enum ('', 'sad, "very"', E'o\\\\k\\n', 'ünï');
  create type pair as (a text, "B b" int[]);
  create type nest as (p pair, ps pair[], m mood);
  create domain positive as int check (value > 0);
  create domain words as text[] check (array_length(value, 1) < 9);
  create domain goodpair as pair check ((value).a is distinct from 'bad');
  create type floatrange as range (subtype = float8, multirange_type_name = floatranges);
  create table constructed (
    id int primary key, m mood, ms mood[], p pair, ps pair[], n nest, ns nest[],
    d positive, ds positive[], w words, g goodpair, gs goodpair[],
    r floatrange, rs floatrange[], mr floatranges, b bit(12), vb varbit(40), ch char(5), vc varchar(3),
    nu numeric(1000, -5), nn numeric(20, 25), ts timestamp(2), tz timestamptz(0), iv interval day to second(3), rw regclass);
  insert into constructed values
    (1, '', array['', E'o\\\\k\\n', null]::mood[], row('', '{}'), array[row(E'\\t"\\\\N', '{1,NULL}'), null, row(null, null)]::pair[],
     row(row('x', '{{1,2},{3,4}}'), array[row('(,)', null)]::pair[], 'sad, "very"'), array[row(null, null, null), null]::nest[],
     1, '{1,NULL,2147483647}', array['a', null, E'b\\n'], row('good', null), array[row('g', '{1}')]::goodpair[],
     '[-Infinity,NaN]', '{"[0.1,0.30000000000000004)",empty,NULL}', '{[1,2),[3,4)}', b'101010101010', b'', 'ab', 'abc',
     1e200, 0.000001, '1999-12-31 23:59:59.99', '2000-01-01 00:00:00+00', '1 12:00:00.123', 'constructed'),
    (2, null, '{}', null, '{}', null, '{}', null, '{}', null, null, '{}', 'empty', '{}', '{}', null, null, '', '',
     null, null, 'infinity', '-infinity', 'infinity', null);`;

/** Names that any place which builds SQL, a path or a line of text could trip over. */
const hostileNames = `
  create schema "sch""ema.
\\'";
  create table "sch""ema.
\\'"."Table 🐘; drop table x --" ("a""b" int, "
" text, "🐘" text, "select" int, "\\x" text, "%s %I $1" text, " lead" text, "${"é".repeat(31)}x" text);
  insert into "sch""ema.
\\'"."Table 🐘; drop table x --" values (1, '2', '3', 4, '5', '6', '7', '8'), (null, null, null, null, null, null, null, null);
  create table "${"t".repeat(63)}" ("${"c".repeat(63)}" int);
  insert into "${"t".repeat(63)}" values (1);
  create table "pg_dump" ("order" int); insert into "pg_dump" values (1);
  create table "tab	and \\N" ("\\." text); insert into "tab	and \\N" values (E'\\\\.');
  create schema hostile;
  create function hostile.lower(text) returns text language sql return 'hijacked';
  create table hostile.builtin_text (v text); insert into hostile.builtin_text values ('not the one of public');`;

/** Generated and identity columns, columns dropped, and partitions whose columns are in another order. */
const oddColumns = `
  create table generated (a int, stored int generated always as (a * 2) stored, b text,
    virtual text generated always as (upper(b)) virtual, id int generated by default as identity);
  insert into generated (a, b) values (1, 'one'), (null, null);
  insert into generated (a, b, id) values (3, 'three', 1000);
  create table only_generated (one int generated always as (1) stored, two int generated always as (2) virtual);
  insert into only_generated select from generate_series(1, 3);
  create table always (id bigint generated always as identity (start -5 increment -5 minvalue -1000 cycle), v text);
  insert into always (v) values ('a'), ('b');
  create table gaps (a int, b text, c int, d text, e int);
  insert into gaps select g, 'b', g, 'd', g from generate_series(1, 5) g;
  alter table gaps drop column a; alter table gaps drop column c; alter table gaps add column "after" text default 'fast default';
  create table all_dropped (a int); insert into all_dropped values (1), (2); alter table all_dropped drop column a;
  create table parts (k int, v text, w int) partition by list (k);
  create table part_one (w int, dead int, v text, k int);
  alter table part_one drop column dead; alter table parts attach partition part_one for values in (1);
  create table part_rest partition of parts default;
  insert into parts values (1, 'one', 10), (2, 'two', 20), (null, null, null);
  create table toasted (id int, external text, plain text, compressed text);
  alter table toasted alter external set storage external, alter plain set storage plain, alter compressed set compression pglz;
  insert into toasted values (1, repeat('é\\', 100000), repeat('p', 4000), repeat('c', 1000000));`;

type Contents = Readonly<Record<string, readonly string[]>>;

/** The state of every sequence, and the rows of every table as text, under the same settings everywhere; long ones by their digest. */
async function contents(database: string): Promise<Contents> {
  const client = await server.connect({ database });
  await client.query(neutralSettings);
  const { rows: tables } = await client.query<{ name: string }>(
    `select format('%I.%I', n.nspname, c.relname) as name
     from pg_class c join pg_namespace n on n.oid = c.relnamespace
     where c.relkind = 'r' and n.nspname !~ '^pg_' and n.nspname not in ('information_schema', 'steep_repl')`,
  );
  const found: Record<string, string[]> = {};
  for (const { name } of tables) {
    const { rows } = await client.query<{ row: string }>(
      `select case when length(t.row) < 2000 then t.row else length(t.row) || ' ' || sha256(convert_to(t.row, 'UTF8')) end as row
       from (select t::text as row from only ${name} t) t`,
    );
    found[name] = rows.map(({ row }) => row).sort();
  }
  const { rows: sequences } = await client.query<{ name: string; value: string }>(
    `select format('%I.%I', schemaname, sequencename) as name, to_jsonb(s)::text as value
     from pg_sequences s where schemaname <> 'steep_repl'`,
  );
  for (const { name, value } of sequences) found[name] = [value];
  await client.end();
  return found;
}

async function restoreNext(snapshot: SnapshotRow): Promise<string> {
  const database = `restored${++restored}`;
  await restore(server, snapshot, database);
  return database;
}

test("every type that PostgreSQL has is in the test, or is known to take no input", async () => {
  const rows = await server.query<{ name: string }>(
    `select typname as name from pg_type t
     where typnamespace = 'pg_catalog'::regnamespace and typtype in ('b', 'r', 'm')
       and not exists (select from pg_type e where e.typarray = t.oid)`,
  );
  const known = [...Object.keys(await builtinValuesOf(server)), ...typesWithoutInput];
  expect(rows.map((row) => row.name).sort()).toEqual(known.sort());
  expect(Object.values(expected).flat().length).toBeGreaterThan(500);
});

test("the settings that change a value's text are in force", async () => {
  const names = ["DateStyle", "IntervalStyle", "extra_float_digits", "bytea_output", "TimeZone"];
  const rows = await server.query<{ setting: string }>(
    "select current_setting(n.name) as setting from unnest($1::text[]) n(name)",
    [names],
    { database: "types", user: "taker" },
  );
  expect(rows.map((row) => row.setting)).toEqual([
    "SQL, MDY",
    "iso_8601",
    "-15",
    "escape",
    "America/St_Johns",
  ]);
});

test.each([
  ["none", 1],
  ["gzip", 2],
  ["lz4", 4],
  ["zstd", 4],
])("every value of every type survives %s, copied by %i workers", async (codec, parallel) => {
  const snapshot = await takeSnapshot(server, {
    database: "types",
    user: "taker",
    args: `compression => '${codec}', parallel => ${parallel}`,
  });
  expect(await problems(server, snapshot.storage_path, { database: "types" })).toEqual([]);
  expect(await contents(await restoreNext(snapshot))).toEqual(expected);
});

test.each([
  ["none", 2],
  ["gzip", 1],
  ["lz4", 3],
  ["zstd", 4],
])("every value of every type survives %s, applied by %i workers", async (codec, parallel) => {
  const snapshot = await takeSnapshot(server, {
    database: "types",
    args: `compression => '${codec}'`,
  });
  const database = `restored${++restored}`;
  await server.createDatabase(database, { extension: true });
  for (const setting of hostileSettings.filter((s) => s.startsWith("alter database types")))
    await server.query(setting.replace("database types", `database ${database}`));
  await applySnapshot(server, snapshot.storage_path, {
    database,
    args: `parallel => ${parallel}`,
  });
  expect(await contents(database)).toEqual(expected);
});

test("the script that pg_restore writes holds every value, too", async () => {
  const snapshot = await takeSnapshot(server, { database: "types" });
  const script = await run(bin("pg_restore"), ["-f", "-", snapshot.storage_path]);
  const database = `restored${++restored}`;
  await server.createDatabase(database, { template: "template0" });
  await run(bin("psql"), ["-Xqv", "ON_ERROR_STOP=1", server.uri(database)], {
    input: script.stdout,
  });
  expect(await contents(database)).toEqual(expected);
});

test("named tables with hostile names are found and restored", async () => {
  const tables = Object.keys(expected).filter((name) => /["\\]/.test(name));
  expect(tables.length).toBeGreaterThan(1);
  const list = tables.map((name) => `$n$${name}$n$`).join(", ");
  const snapshot = await takeSnapshot(server, {
    database: "types",
    args: `tables => array[${list}]`,
  });
  const database = `restored${++restored}`;
  await server.createDatabase(database, { template: "template0" });
  await server.query(`create schema "sch""ema.\n\\'"`, [], { database });
  await run(bin("pg_restore"), ["-e", "-d", server.uri(database), snapshot.storage_path]);
  const found = await contents(database);
  expect(found).toEqual(Object.fromEntries(tables.map((name) => [name, expected[name]])));
});

test.each(["none", "zstd"])("a field of 60 MB survives %s", async (codec) => {
  await server.createDatabase("wide", { extension: true });
  const wide = { database: "wide" };
  await server.query(
    `create table wide (id int, v text, b bytea);
     insert into wide values (1, repeat(E'\\\\N\\t', 20000000), null), (2, 'small', '\\x00'),
       (3, null, decode(repeat('00ff5c0a09', 6000000), 'hex'))`,
    [],
    wide,
  );
  const digest = "select id, length(v), md5(v), length(b), md5(b) as digest from wide order by id";
  const snapshot = await takeSnapshot(server, { ...wide, args: `compression => '${codec}'` });
  expect(await problems(server, snapshot.storage_path, wide)).toEqual([]);
  const database = await restoreNext(snapshot);
  expect(await server.query(digest, [], { database })).toEqual(
    await server.query(digest, [], wide),
  );
  const applied = `restored${++restored}`;
  await server.createDatabase(applied, { extension: true });
  await applySnapshot(server, snapshot.storage_path, { database: applied });
  expect(await server.query(digest, [], { database: applied })).toEqual(
    await server.query(digest, [], wide),
  );
  await server.query("select steep_repl.drop_snapshot($1)", [snapshot.snapshot_id], wide);
  await server.query("drop database wide");
});
