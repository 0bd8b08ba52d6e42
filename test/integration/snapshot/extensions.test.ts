import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import { applySnapshot } from "../../support/apply.ts";
import { giveToServer } from "../../support/data-directory.ts";
import { expectNoLeaks } from "../../support/leaks.ts";
import { bin, run } from "../../support/pg.ts";
import { type Server, startServer } from "../../support/server.ts";
import {
  dropSnapshots,
  restore,
  runSnapshot,
  takeSnapshot,
  withoutOurs,
} from "../../support/snapshots.ts";

// pg_dump copies of an extension what is in its configuration. pg_dump is the judge of what that is.

let server: Server;
const source = { database: "source" };

const configuration = [
  ...["everything", "everything_id_seq", "identity", "unlogged", "parent", "child"],
  ...["parted", "parted_1", "numbers", "more_numbers", "seen", "summed"],
];

// every kind of relation, in the list of configuration and not
const script = `
  create table settings (name text primary key, value text);
  insert into settings values ('built', 'in');
  create table everything (id serial primary key, v text);
  create table identity (id int generated always as identity, v text);
  create table ignored (v text);
  create unlogged table unlogged (v text);
  create table parent (id int); create table child (more int) inherits (parent);
  create table parted (k int) partition by list (k);
  create table parted_1 partition of parted for values in (1);
  create sequence numbers; create sequence more_numbers; create sequence ignored_numbers;
  create view seen as select * from settings; create materialized view summed as select count(*) from settings;
  select pg_catalog.pg_extension_config_dump('settings', 'where name <> ''built''');
  ${configuration.map((name) => `select pg_catalog.pg_extension_config_dump('${name}', '');`).join("\n")}`;

const contents = `
  select (select array_agg(s order by s) from conf.settings s)::text as settings,
         (select array_agg(s order by s) from conf.everything s)::text as everything,
         (select array_agg(s order by s) from conf.identity s)::text as identity,
         (select array_agg(s order by s) from only conf.parent s)::text as parent,
         (select array_agg(s order by s) from conf.child s)::text as child,
         (select array_agg(s order by s) from conf.parted s)::text as parted,
         (select array_agg(s order by s) from conf.ignored s)::text as ignored,
         (select string_agg(sequencename || last_value, ' ' order by sequencename) from pg_sequences where schemaname = 'conf') as sequences`;

beforeAll(async () => {
  server = await startServer({ name: "extensions", settings: { max_worker_processes: 16 } });
  const directory = join(server.home, "extensions", "extension");
  await mkdir(directory, { recursive: true });
  await writeFile(
    join(directory, "configured.control"),
    "default_version = '1'\nrelocatable = false\nschema = conf\n",
  );
  await writeFile(join(directory, "configured--1.sql"), script);
  await giveToServer(join(server.home, "extensions"));
  const [path] = await server.query<{ extension_control_path: string }>(
    "show extension_control_path",
  );
  await server.configure({
    extension_control_path: `${path?.extension_control_path}:${join(server.home, "extensions")}`,
  });
  await server.createDatabase("source", { extension: true });
  await server.query(
    `create schema conf; create extension configured;
     insert into conf.settings values ('mine', '1'); insert into conf.everything (v) values ('a'), ('b');
     insert into conf.identity (v) values ('a'); insert into conf.ignored values ('x'); insert into conf.unlogged values ('u');
     insert into conf.parent values (1); insert into conf.child values (2, 3); insert into conf.parted values (1);
     select nextval('conf.numbers'), nextval('conf.numbers'), nextval('conf.ignored_numbers');
     create table conf.own (id serial); insert into conf.own default values`,
    [],
    source,
  );
});
afterAll(() => server.destroy());
afterEach(async () => {
  await dropSnapshots(server, source);
  await server.query("drop database if exists target with (force)");
  await expectNoLeaks(server);
});

/** The entries of an archive that hold data. */
async function dataIn(archive: string): Promise<readonly string[]> {
  const { stdout } = await run(bin("pg_restore"), ["-l", archive]);
  const entries = stdout.matchAll(
    / (TABLE DATA|SEQUENCE SET|MATERIALIZED VIEW DATA) (\S+) (\S+) /g,
  );
  return [...entries].map(([, kind, schema, name]) => `${kind} ${schema}.${name}`).sort();
}

test.each([
  ["the database", "tables => null", []],
  ["its schema", "schemas => '{conf}'", ["-n", "conf"]],
  [
    "a table of it",
    "tables => '{conf.settings,conf.parent}'",
    ["--table-and-children=conf.settings", "--table-and-children=conf.parent"],
  ],
  ["a sequence of it", "tables => '{conf.numbers}'", ["-t", "conf.numbers"]],
  ["something else", "tables => '{conf.own}'", ["-t", "conf.own"]],
])("a snapshot of %s has what pg_dump copies of an extension", async (what, args, options) => {
  const snapshot = await takeSnapshot(server, { ...source, args });
  const stock = join(server.home, what.replaceAll(" ", "-"));
  await run(bin("pg_dump"), ["-Fd", "-f", stock, ...withoutOurs, ...options, server.uri("source")]);
  expect(await dataIn(snapshot.storage_path)).toEqual(await dataIn(stock));
});

test("it comes back, by pg_restore and by an apply", async () => {
  const expected = (await server.query(contents, [], source)).map((row) => ({
    ...row,
    ignored: null,
    sequences: (row.sequences as string).replace(/(identity_id_seq|ignored_numbers)\S+ /g, ""),
  }));
  const snapshot = await takeSnapshot(server, source);
  await restore(server, snapshot, "target");
  expect(await server.query(contents, [], { database: "target" })).toEqual(expected);
  await server.query("drop database target");
  await server.createDatabase("target", { extension: true });
  await applySnapshot(server, snapshot.storage_path, { database: "target" });
  expect(await server.query(contents, [], { database: "target" })).toEqual(expected);
  await server.query("select nextval('conf.numbers'); truncate conf.everything", [], {
    database: "target",
  });
  await applySnapshot(server, snapshot.storage_path, {
    database: "target",
    args: "sections => '{data}', truncate => true, tables => '{conf.everything,conf.numbers}'",
  });
  expect(await server.query(contents, [], { database: "target" })).toEqual(expected);
});

test("who may not read it is told what, and who may can copy it", async () => {
  await server.query(
    `create role reader login; grant usage on schema steep_repl, conf to reader;
     grant select, insert, update, delete on all tables in schema steep_repl to reader;
     grant select on all tables in schema conf, public to reader`,
    [],
    source,
  );
  const refused = await runSnapshot(server, { ...source, user: "reader" });
  expect(refused).toMatchObject({
    status: "failed",
    error_sqlstate: "42501",
    error_message: expect.stringMatching(
      /: no SELECT on sequence conf.more_numbers, no SELECT on sequence conf.numbers$/,
    ),
  });
  await server.query(
    "grant select on sequence conf.numbers, conf.more_numbers to reader",
    [],
    source,
  );
  await takeSnapshot(server, { ...source, user: "reader" });
});
