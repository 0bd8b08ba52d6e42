import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { expectNoLeaks } from "../../support/leaks.ts";
import { createRole } from "../../support/roles.ts";
import { type Server, startServer } from "../../support/server.ts";
import { takeSnapshot } from "../../support/snapshots.ts";

/*
 * What a job would fail by, and can be known before: whoever queues it is told. No peer is needed for that.
 */

let server: Server;
const plain = { user: "plain" };

beforeAll(async () => {
  server = await startServer({ name: "queued", settings: { "steep_repl.poll_interval": 100 } });
  await server.query(
    `create extension steep_repl cascade; create table t (id int primary key, changed timestamptz);
     create table "T" (id int primary key, "Changed" timestamptz); create view v as select 1 as id`,
  );
  await createRole(server, "postgres", "plain");
  await server.query(
    `grant usage on foreign data wrapper dblink_fdw to plain;
     create server nowhere foreign data wrapper dblink_fdw options (host '192.0.2.1', dbname 'x');
     grant usage on foreign server nowhere to plain;
     create server closed foreign data wrapper dblink_fdw options (host '192.0.2.1', dbname 'x');
     select steep_repl.register_node('far', 'Far', '192.0.2.1')`,
  );
});
afterAll(() => server.destroy());
afterEach(async () => {
  expect(await server.query("select id from steep_repl.work_queue")).toEqual([]);
  await expectNoLeaks(server);
});

/** What queues a job with a peer. */
const queueing = [
  ["start_overlap", "select steep_repl.start_overlap($1, '{public.t}')"],
  ["start_merge", "select steep_repl.start_merge($1, '{public.t}')"],
] as const;

describe.each(queueing)("%s refuses of a role that is no superuser", (_, sql) => {
  const withoutPassword = {
    code: "2F003",
    message: "password is required",
    detail: "Roles that are no superusers must give a password to connect.",
    hint: expect.stringMatching(/^Have a server made with CREATE SERVER .* name that server/),
  };
  test.each([
    ["a connection string without a password", "host=192.0.2.1 dbname=x", withoutPassword],
    ["one with an empty password", "host=192.0.2.1 password=''", withoutPassword],
    ["an address without a password", "postgresql://plain@192.0.2.1/x", withoutPassword],
    ["a node without a foreign server", "far", withoutPassword],
    ["a foreign server without a mapping of his", "nowhere", { code: "42704" }],
    ["a foreign server that he may not use", "closed", { code: "42501" }],
    [
      "a file of this server",
      "host=192.0.2.1 password=x passfile=/tmp/x",
      { code: "42501", detail: "It names a file of this server." },
    ],
    ["what is no connection string", "host=192.0.2.1 nonsense", { code: "22023" }],
  ])("%s", async (_, peer, error) => {
    await expect(server.query(sql, [peer], plain)).rejects.toMatchObject(error);
  });
});

test("a password that the peer did not ask for is one that was not used", async () => {
  const trusting = `host=127.0.0.1 port=${server.port} dbname=postgres user=plain password=unused`;
  await expect(
    server.query("select * from steep_repl.analyze_overlap($1, '{public.t}')", [trusting], plain),
  ).rejects.toMatchObject({
    code: "2F003",
    detail: expect.stringContaining("without asking for the password. PostgreSQL demands"),
    hint: expect.stringContaining("scram-sha-256 instead of trust"),
  });
});

describe("tables and columns that are not here are found", () => {
  const far = "'far'";
  const no = (name: string) => ({ code: "42P01", message: `table ${name} does not exist` });
  const column = (of: string) => ({ code: "42703", message: `there is no column ${of}` });
  const late = "strategy => 'last-modified', last_modified_column =>";
  test.each([
    ["a table", `start_overlap(${far}, '{public.t,public.u}')`, no("public.u")],
    [
      "a table of a merge",
      `start_merge(${far}, array['public.t', 'public."U"'])`,
      no('public."U"'),
    ],
    [
      "a column of a key",
      `start_overlap(${far}, '{public.t}', '{"public.t": ["id", "nix"]}')`,
      column("nix of table public.t"),
    ],
    [
      "a last_modified_column",
      `start_merge(${far}, '{public.t}', ${late} 'nix')`,
      column("nix of table public.t"),
    ],
    [
      "one that another table has",
      `start_merge(${far}, array['public.t', 'public."T"'], ${late} 'changed')`,
      column('changed of table public."T"'),
    ],
    [
      "one that no table has",
      `start_merge(${far}, null, ${late} 'nix')`,
      column("nix, in any table"),
    ],
  ])("%s", async (_, sql, error) => {
    await expect(server.query(`select steep_repl.${sql}`)).rejects.toMatchObject(error);
  });
});

test("tables that a snapshot does not have are found when its apply is queued", async () => {
  const { storage_path: path } = await takeSnapshot(server);
  try {
    await expect(
      server.query("select steep_repl.start_apply($1, tables => $2)", [
        path,
        ["public.t", "public.u", 'public."U"', "other.t"],
      ]),
    ).rejects.toMatchObject({
      code: "42P01",
      message: 'the snapshot does not contain public.u, public."U", other.t',
    });
  } finally {
    await server.query("select steep_repl.drop_snapshot(snapshot_id) from steep_repl.snapshots");
    await server.query("delete from steep_repl.work_queue");
  }
});
