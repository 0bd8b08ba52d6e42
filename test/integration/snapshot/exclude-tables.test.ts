import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import { runApply } from "../../support/apply.ts";
import { hostileNames } from "../../support/hostile-names.ts";
import { expectNoLeaks } from "../../support/leaks.ts";
import { bin, run } from "../../support/pg.ts";
import { createRole } from "../../support/roles.ts";
import { type Server, startServer } from "../../support/server.ts";
import {
  digests,
  dropSnapshots,
  restore,
  runSnapshot,
  schemaOf,
  takeSnapshot,
  withoutOurs,
} from "../../support/snapshots.ts";

// What patterns leave out of a snapshot. pg_dump is the judge of what they mean.

let server: Server;
const source = { database: "source" };

const schema = `
  create schema audit; create schema "Odd";
  create table kept (id serial primary key, v text); insert into kept (v) select 'v' from generate_series(1, 50);
  create table audit.log (id bigserial primary key, at timestamptz default now()); insert into audit.log select from generate_series(1, 9);
  create table audit.numbered (id int generated always as identity); insert into audit.numbered select from generate_series(1, 5);
  create view audit.seen as select 1 as one; create materialized view audit.summed as select 2 as two;
  create table log_1 (v int); insert into log_1 values (1); create table log_22 (v int); insert into log_22 values (22);
  create table "Odd"."Log" (v int); insert into "Odd"."Log" values (3); create table "Odd".log (v int); insert into "Odd".log values (4);
  create table parted (k int) partition by list (k);
  create table parted_1 partition of parted for values in (1); create table parted_2 partition of parted for values in (2);
  insert into parted values (1), (2), (2);
  create table parent (v int); create table child (more int) inherits (parent); insert into child values (1, 2);
  create table shares (id serial primary key); create table uses (id int primary key default nextval('shares_id_seq'));
  insert into shares default values; insert into uses default values;
  create table customers (id int primary key); create table orders (id int primary key, customer int references customers);
  insert into customers values (1); insert into orders values (1, 1);
  create view of_customers as select * from customers;
  create publication everything for all tables; create publication two for table kept, log_1;
  select lo_from_bytea(4711, 'large')`;

beforeAll(async () => {
  server = await startServer({ name: "exclude", settings: { max_worker_processes: 16 } });
  await server.createDatabase("source", { extension: true });
  await server.query(schema, [], source);
});
afterAll(() => server.destroy());
afterEach(async () => {
  await server.query("drop database if exists target with (force)");
  await dropSnapshots(server, source);
  await expectNoLeaks(server);
});

const literal = (patterns: readonly string[]) =>
  `array[${patterns.map((p) => `'${p.replaceAll("'", "''")}'`).join(", ")}]`;

/** A snapshot without what the patterns name; restored into `target`. */
async function without(patterns: readonly string[], more = "") {
  const args = `exclude_tables => ${literal(patterns)}${more}`;
  const snapshot = await takeSnapshot(server, { ...source, args });
  await restore(server, snapshot, "target");
  return snapshot;
}

/** What pg_dump makes of patterns, which also name sequences: it leaves out an owner, and not its sequences. */
async function dumped(patterns: readonly string[]): Promise<unknown> {
  const options = patterns.map((p) => `--exclude-table-and-children=${p}`);
  const path = `${server.home}/judge.dump`;
  await run(bin("pg_dump"), ["-Fc", "-f", path, ...options, ...withoutOurs, server.uri("source")]);
  await server.createDatabase("judge", { template: "template0" });
  // it cannot add to publications what it has left out, and goes on
  await run(bin("pg_restore"), ["-d", server.uri("judge"), path], { allowFailure: true });
  try {
    return [await schemaOf(server, "judge"), await digests(server, "judge")];
  } finally {
    await server.query("drop database judge with (force)");
  }
}

test.each([
  ["a schema", ["audit.*"], ["audit.*"]],
  [
    "wildcards and alternatives",
    ["log_?", "public.(parent|parted_1)"],
    ["*.log_?", "public.(parent|parted_1)"],
  ],
  ["quoted names", ['"Odd"."Log"'], ['"Odd"."Log"']],
  ["a name without a schema, in any", ["log"], ["*.log", "audit.log_id_seq"]],
  ["a partitioned table", ["parted"], ["*.parted"]],
  ["a sequence's owner", ["kept"], ["*.kept", "public.kept_id_seq"]],
  ["an owner of a sequence that something else uses", ["shares"], ["*.shares"]],
  [
    "an identity column, and a parent with its children",
    ["audit.numbered", "parent", "child"],
    ["audit.numbered", "parent"],
  ],
])("%s: as pg_dump, also restored by it", async (_, patterns, judged) => {
  const wanted = await dumped(judged);
  const snapshot = await without(patterns);
  expect([await schemaOf(server, "target"), await digests(server, "target")]).toEqual(wanted);
  expect((snapshot as { warnings?: unknown }).warnings).toBeNull();
});

test("what refers to what is left out, and patterns that match nothing, are named", async () => {
  const args = "exclude_tables => '{customers,nothing.at_all}'";
  const { warnings } = (await takeSnapshot(server, { ...source, args })) as unknown as {
    readonly warnings: readonly string[];
  };
  expect(warnings).toEqual([
    expect.stringMatching(
      /foreign key orders_customer_fkey of table public.orders, view public.of_customers$/,
    ),
    expect.stringMatching(/leave out nothing: nothing.at_all$/),
  ]);
});

test("with tables or schemas, the rest of them; large objects stay in a whole database", async () => {
  const tables = ["parted", "kept"].map((t) => `public.${t}`).join();
  await without(["parted_2"], `, tables => '{${tables}}'`);
  expect(Object.keys(await digests(server, "target"))).toEqual(["public.kept", "public.parted_1"]);
  await server.query("drop database target with (force)");
  await without(["*.log", "audit.numbered"], ", schemas => '{audit}'");
  expect(Object.keys(await digests(server, "target"))).toEqual(["audit.summed"]);
  await server.query("drop database target with (force)");
  await without(["audit.*"]);
  expect(
    await server.query("select oid::int from pg_largeobject_metadata", [], { database: "target" }),
  ).toEqual([{ oid: 4711 }]);
});

test("names that are hostile are left out, and no others", async () => {
  await server.query("create schema hostile", [], source);
  const quoted = hostileNames.map((name) => `hostile."${name.replaceAll('"', '""')}"`);
  for (const table of quoted) await server.query(`create table ${table} (v int)`, [], source);
  await server.query("create table hostile.harmless (v int)", [], source);
  try {
    await without(quoted);
    const names = Object.keys(await digests(server, "target"));
    expect(names.filter((name) => name.startsWith("hostile."))).toEqual(["hostile.harmless"]);
  } finally {
    await server.query("drop schema hostile cascade", [], source);
  }
});

test("a role needs no right to read what is left out", async () => {
  await createRole(server, "source", "exporter", "login");
  await server.query(
    `grant usage on schema "Odd" to exporter; grant select on all tables in schema public, "Odd" to exporter`,
    [],
    source,
  );
  const args = "exclude_tables => '{audit.*}', large_objects => 'skip'";
  const row = await runSnapshot(server, { ...source, user: "exporter", args });
  expect(row).toMatchObject({ status: "complete", error_message: null });
});

test("an apply of it, by us, is complete", async () => {
  const snapshot = await takeSnapshot(server, { ...source, args: "exclude_tables => '{audit.*}'" });
  await server.createDatabase("target", { extension: true });
  const row = await runApply(server, snapshot.storage_path, { database: "target" });
  expect(row).toMatchObject({ status: "complete", error_message: null });
});

test("a pattern that is none is refused when the job is queued", async () => {
  for (const pattern of ["a.b.c", "a(", '"open'])
    await expect(
      server.query(
        `select steep_repl.start_snapshot($1, exclude_tables => array[$2])`,
        [`${server.snapshotDir}/never`, pattern],
        source,
      ),
    ).rejects.toMatchObject({ code: "22023" });
});
