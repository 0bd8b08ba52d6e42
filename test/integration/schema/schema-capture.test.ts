import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import type { Row } from "../../support/node.ts";
import { createRole } from "../../support/roles.ts";
import { queryAndClose } from "../../support/schemas.ts";
import { type Server, startServer } from "../../support/server.ts";

/* The history of how tables were defined: who may write it, and who sees what. */
let server: Server;
let peer: Server;
const app = { database: "app" };

beforeAll(async () => {
  [server, peer] = await Promise.all([
    startServer({ name: "capture" }),
    startServer({
      name: "capture-peer",
      identity: "peer",
      preload: false,
      hba: ["host all remote 127.0.0.1/32 scram-sha-256"],
    }),
  ]);
  await server.createDatabase("app", { extension: true });
  await peer.createDatabase("app");
  const table = "create table orders (id int primary key, total numeric)";
  await server.query(table, [], app);
  await peer.query(
    `${table}; create table more (id int); create role remote login password 'sesame'`,
    [],
    app,
  );
  for (const role of ["one", "two"]) await createRole(server, "app", role);
  await server.query(
    `revoke select on orders from one, two;
     select steep_repl.register_node('a', 'A', dbname => 'app');
     select steep_repl.register_node('b', 'B', '127.0.0.1', ${peer.port}, dbname => 'app');
     create server b_server foreign data wrapper dblink_fdw options (host '127.0.0.1', port '${peer.port}', dbname 'app');
     grant usage on foreign server b_server to one;
     create user mapping for one server b_server options (user 'remote', password 'sesame');
     create role watcher login; grant pg_monitor, usage_of to watcher`.replace(", usage_of", ""),
    [],
    app,
  );
  await server.query(
    "grant usage on schema steep_repl to watcher; grant select on all tables in schema steep_repl to watcher",
    [],
    app,
  );
});
afterAll(async () => {
  await server.destroy();
  await peer.destroy();
});
afterEach(() => server.query("delete from steep_repl.schema_fingerprints", [], app));

const capture = async (node: string, user = "postgres") =>
  (
    await queryAndClose(server, "select steep_repl.capture_fingerprints($1) as n", [node], {
      ...app,
      user,
    })
  )[0]?.n;
const history = (user = "postgres", where = "true"): Promise<Row[]> =>
  server.query(
    `select * from steep_repl.schema_fingerprints where ${where} order by captured_at, node_id, table_name`,
    [],
    { ...app, user },
  );

describe("capture_fingerprints", () => {
  test("notes the tables of the local node and of a remote one", async () => {
    expect(await capture("a")).toBe(1);
    expect(await capture("b")).toBe(2);
    const rows = await history();
    expect(rows).toMatchObject([
      { node_id: "a", schema_name: "public", table_name: "orders", captured_by: "postgres" },
      { node_id: "b", schema_name: "public", table_name: "more" },
      {
        node_id: "b",
        schema_name: "public",
        table_name: "orders",
        fingerprint: rows[0]?.fingerprint,
      },
    ]);
    expect(rows[0]?.definition).toEqual(
      expect.arrayContaining([
        { type: "column", name: "id", definition: "integer NOT NULL" },
        { type: "constraint", name: "orders_pkey", definition: "PRIMARY KEY (id)" },
      ]),
    );
    expect(rows[0]?.server_version_num).toBeGreaterThanOrEqual(180000);
    expect(rows[1]?.captured_at).toEqual(rows[2]?.captured_at);
    const compared = await queryAndClose(
      server,
      "select local_fingerprint from steep_repl.compare_fingerprints('a', 'b') where table_name = 'orders'",
      [],
      app,
    );
    expect(compared).toEqual([{ local_fingerprint: rows[0]?.fingerprint }]);
  });

  test("keeps what was, so that a change shows", async () => {
    await capture("a");
    await server.query("alter table orders add note text", [], app);
    await capture("a");
    const prints = (await history()).map((row) => row.fingerprint);
    expect(new Set(prints).size).toBe(2);
    await server.query("alter table orders drop column note", [], app);
    await capture("a");
    expect((await history()).map((row) => row.fingerprint)).toEqual([...prints, prints[0]]);
  });

  test("goes through thousands of tables in parts", async () => {
    await peer.query(
      "create schema many; do $$ begin for i in 1..2100 loop execute format('create table many.t%s (id int)', i); end loop; end $$",
      [],
      app,
    );
    expect(await capture("b")).toBe(2102);
    expect(await history("postgres", "schema_name = 'many'")).toHaveLength(2100);
    const again = await server.query(
      "select count(distinct (schema_name, table_name))::int as n from steep_repl.schema_fingerprints",
      [],
      app,
    );
    expect(again).toEqual([{ n: 2102 }]);
    // 2100 tables at a time may need more locks than there are
    await peer.query(
      "do $$ begin for i in 1..2100 loop execute format('drop table many.t%s', i); commit; end loop; end $$",
      [],
      app,
    );
  });
});

describe("a role without rights on the tables", () => {
  test("may compare, diff and capture, over the user mapping that it has", async () => {
    await server.query(
      "select steep_repl.register_node('b1', 'B', foreign_server => 'b_server')",
      [],
      {
        ...app,
        user: "one",
      },
    );
    const as = { ...app, user: "one" };
    expect(
      await queryAndClose(
        server,
        "select table_name, status from steep_repl.compare_fingerprints('a', 'b1') where schema_name = 'public'",
        [],
        as,
      ),
    ).toEqual([
      { table_name: "more", status: "peer_only" },
      { table_name: "orders", status: "match" },
    ]);
    expect(
      await queryAndClose(
        server,
        "select status from steep_repl.schema_diff('a', 'b_server', 'public.more')",
        [],
        as,
      ),
    ).toEqual([{ status: "peer_only" }]);
    expect(await capture("a", "one")).toBe(1);
    expect(await capture("b1", "one")).toBe(2);
  });

  test("may not connect without a password of its own, nor where another role says", async () => {
    await expect(capture("b", "one")).rejects.toMatchObject({ code: "2F003" });
    await expect(capture("b1", "two")).rejects.toMatchObject({ code: "42501" });
    expect(await history()).toEqual([]);
  });
});

describe("captures", () => {
  const columns =
    "(node_id, schema_name, table_name, fingerprint, definition, captured_by, captured_by_oid, captured_at)";
  const asSomebody = `'a', 'public', 'orders', 'forged', '[]', 'postgres', 10, '2001-01-01'`;
  const run = (sql: string, user: string) => server.query(sql, [], { ...app, user });

  test("are seen by who made them, its members, and pg_monitor", async () => {
    await capture("a", "one");
    expect(await history("one")).toHaveLength(1);
    expect(await history("two")).toEqual([]);
    expect(await history("watcher")).toHaveLength(1);
    await server.query("grant one to two");
    expect(await history("two")).toHaveLength(1);
    await server.query("revoke one from two");
  });

  test("say who made them, whatever is written", async () => {
    const before = new Date();
    await run(
      `insert into steep_repl.schema_fingerprints ${columns} values (${asSomebody})`,
      "two",
    );
    const [row] = await history();
    expect(row).toMatchObject({ captured_by: "two" });
    expect(Number(row?.captured_at)).toBeGreaterThanOrEqual(before.getTime() - 1000);
  });

  test("cannot be changed or deleted by other roles, nor changed by their own", async () => {
    await capture("a", "one");
    const [before] = await history();
    for (const user of ["two", "watcher", "one"])
      await run(
        "update steep_repl.schema_fingerprints set fingerprint = 'x', captured_by = 'two'",
        user,
      ).catch((error) => expect(error).toMatchObject({ code: "42501" }));
    await run("delete from steep_repl.schema_fingerprints", "two");
    expect(await history()).toEqual([before]);
    // nor where the role turns triggers off
    await server.query("grant set on parameter session_replication_role to two", [], app);
    await run(
      `set session_replication_role = replica; insert into steep_repl.schema_fingerprints ${columns} values (${asSomebody})`,
      "two",
    );
    expect((await history()).map((row) => row.captured_by)).toEqual(["one", "two"]);
    await run("delete from steep_repl.schema_fingerprints", "one");
    expect((await history()).map((row) => row.captured_by)).toEqual(["two"]);
  });

  test("of another cluster or database are none of a role's", async () => {
    await capture("a", "one");
    await server.query("update steep_repl.schema_fingerprints set database_oid = 1", [], app);
    expect(await history("one")).toEqual([]);
  });

  test("work for a role that has row_security off", async () => {
    await server.query("alter role one set row_security = off");
    expect(await capture("a", "one")).toBe(1);
    await server.query("alter role one reset row_security");
  });
});
