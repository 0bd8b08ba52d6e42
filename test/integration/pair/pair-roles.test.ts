import { afterAll, beforeAll, expect, test, vi } from "vitest";
import { endOfPair, expectEqual, expectHealthy, pairSettings } from "../../support/pair-nodes.ts";
import { type Server, startServer } from "../../support/server.ts";

/* A role that is no superuser makes a pair, with the grants that docs/pair.md names and no others. */

vi.setConfig({ testTimeout: 120_000 });

const password = "s3cret'\\ of keeper";
const app = { database: "app" };
const keeper = { ...app, user: "keeper", password };
let a: Server;
let b: Server;

const quote = (text: string) => `'${text.replace(/'/g, "''")}'`;

beforeAll(async () => {
  const hba = ["host all keeper 127.0.0.1/32 scram-sha-256"];
  const settings = { ...pairSettings, password_encryption: "scram-sha-256" };
  [a, b] = await Promise.all([
    startServer({ name: "pair-roles-a", settings, hba }),
    startServer({ name: "pair-roles-b", identity: "peer", settings, hba }),
  ]);
  for (const server of [a, b]) {
    await server.createDatabase("app", { extension: true });
    await server.query(
      `create role keeper login replication password ${quote(password).replace(/\\/g, "\\")};
       grant pg_create_subscription to keeper;
       grant create on database app to keeper;
       grant create on schema public to keeper;
       grant usage on schema steep_repl to keeper;
       grant select, insert, update, delete on all tables in schema steep_repl to keeper;
       grant usage on foreign data wrapper dblink_fdw to keeper`,
      [],
      app,
    );
  }
  for (const [name, here, there] of [
    ["node_b", a, b],
    ["node_a", b, a],
  ] as const) {
    await here.query(
      `create server to_${name} foreign data wrapper dblink_fdw options (host '127.0.0.1', port '${there.port}', dbname 'app');
       alter server to_${name} owner to keeper;
       create user mapping for keeper server to_${name} options (user 'keeper', password ${quote(password)})`,
      [],
      app,
    );
    await here.query("alter role keeper set log_statement = 'all'", [], app).catch(() => null);
    await here.query(
      "select steep_repl.register_node($1, $1, foreign_server => $2)",
      [name, `to_${name}`],
      keeper,
    );
  }
});
afterAll(async () => {
  await a?.destroy();
  await b?.destroy();
});

test("its grants are enough, and its password is nowhere", async () => {
  await a.query(
    `create table t (id serial primary key, v text); insert into t (v) select 'v' || i from generate_series(1, 1000) i`,
    [],
    keeper,
  );
  const [row] = await a.query<{ id: string }>(
    "select pair_id as id from steep_repl.start_pair('node_b')",
    [],
    keeper,
  );
  expect(await endOfPair(a, row?.id ?? "", 60_000, app)).toMatchObject({
    status: "complete",
    error_message: null,
  });
  for (const server of [a, b]) {
    await server.query("insert into t (v) values ('after')", [], keeper);
  }
  await expectEqual(a, b, ["t"], app);
  await expectHealthy(a, b);
  for (const server of [a, b]) {
    expect(await server.log()).not.toContain("s3cret");
    // PostgreSQL keeps it in pg_subscription, for superusers alone
    const [kept] = await server.query<{ n: number }>(
      `select count(*)::int as n from (select to_jsonb(w)::text as row from steep_repl.work_queue w union all
         select to_jsonb(p)::text from steep_repl.pairs p union all select to_jsonb(s)::text from steep_repl.snapshots s) x
       where row like '%s3cret%'`,
      [],
      app,
    );
    expect(kept).toEqual({ n: 0 });
  }
  const dropped = await a.query<{ dropped: boolean }>(
    "select dropped from steep_repl.drop_pair('node_b') where object !~ '^snapshot'",
    [],
    keeper,
  );
  expect(dropped.map((d) => d.dropped)).toEqual(Array.from({ length: 6 }, () => true));
});

const missing = [
  ["right to subscribe", "revoke pg_create_subscription from keeper"],
  ["right to publish", "revoke create on database app from keeper"],
  ["right to replicate", "alter role keeper noreplication"],
  ["owner", "alter table t owner to postgres; grant select on t to keeper"],
  ["row security", "alter table t enable row level security"],
] as const;

test.each(missing)("%s: the grant that is named is what it lacks", async (check, revoke) => {
  await a.query(revoke, [], app);
  const problems = () =>
    a.query<{ check_name: string; fix: string }>(
      "select check_name, fix from steep_repl.preflight('node_b', existing => 'keep') where status = 'problem' and side = 'local'",
      [],
      keeper,
    );
  const found = await problems();
  expect(found.map((row) => row.check_name)).toContain(check);
  await a.query(found.find((row) => row.check_name === check)?.fix ?? "", [], app);
  expect((await problems()).map((row) => row.check_name)).not.toContain(check);
  await a.query("alter table t disable row level security; alter table t owner to keeper", [], app);
});
