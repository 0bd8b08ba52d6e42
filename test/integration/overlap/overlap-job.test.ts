import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import { cancelJob, msUntilEnd } from "../../support/ends.ts";
import { expectNoLeaks } from "../../support/leaks.ts";
import { endOfOverlap, type OverlapRow } from "../../support/overlap.ts";
import { createRole, dropRole, whileJobsWait } from "../../support/roles.ts";
import { type Server, startServer } from "../../support/server.ts";
import { waitUntil } from "../../support/wait-until.ts";

let a: Server;
let b: Server;
/** with a password, which nothing may show */
let peer: string;
const secret = "hush hush";

beforeAll(async () => {
  a = await startServer({ name: "overlap-job", settings: { "steep_repl.poll_interval": "1s" } });
  b = await startServer({ name: "overlap-job-b", identity: "peer" });
  await a.query("create extension steep_repl cascade");
  for (const server of [a, b])
    await server.query(
      `create role visitor login password '${secret}'; create table t (id int primary key, v text);
       create table u (id int primary key); grant select on t, u to visitor`,
    );
  await a.query(
    "insert into t select g, 'v' || g from generate_series(1, 3000) g; insert into u values (1)",
  );
  await b.query(
    "insert into t select g, case when g % 100 = 0 then 'other' else 'v' || g end from generate_series(11, 3020) g; insert into u values (1)",
  );
  peer = `host=127.0.0.1 port=${b.port} dbname=postgres user=visitor password='${secret}'`;
});
afterAll(async () => {
  await a.destroy();
  await b.destroy();
});
afterEach(() => expectNoLeaks(a));

async function startOverlap(
  server: Server,
  target: string,
  tables: string[] | null = null,
  user = "postgres",
): Promise<OverlapRow> {
  const [row] = await server.query<OverlapRow>(
    "select * from steep_repl.start_overlap($1, $2)",
    [target, tables],
    { user },
  );
  if (!row) throw new Error("start_overlap answered no row");
  return row;
}

test("a queued comparison counts, keeps the rows that differ, and tells listeners", async () => {
  const listener = await a.connect();
  const heard: Record<string, unknown>[] = [];
  listener.on("notification", (n) => heard.push(JSON.parse(n.payload ?? "{}")));
  await listener.query("listen steep_repl_progress");
  const queued = await startOverlap(a, peer);
  expect(queued).toMatchObject({
    status: "pending",
    peer: `host=127.0.0.1 port=${b.port} dbname=postgres user=visitor`,
  });
  expect(queued.overlap_id).toMatch(/^overlap_\d{8}_\d{6}_[0-9a-f]{8}$/);
  const row = await endOfOverlap(a, queued.operation_id);
  expect(row).toMatchObject({
    status: "complete",
    phase: "complete",
    overall_percent: "100.00",
    tables: ["public.t", "public.u"],
    table_count: 2,
    tables_completed: 2,
    local_only_count: "10",
    remote_only_count: "20",
    match_count: String(2990 - 30 + 1),
    conflict_count: "30",
    unsettled_count: "0",
  });
  const tables = await a.query(
    "select table_name, key_columns, conflict_count::int, local_lsn is not null and peer_lsn is not null as lsns, local_snapshot ~ '^\\d+:' and peer_snapshot ~ '^\\d+:' as snapshots from steep_repl.overlap_tables where overlap_id = $1 order by 1",
    [row.overlap_id],
  );
  expect(tables).toEqual([
    {
      table_name: "public.t",
      key_columns: ["id"],
      conflict_count: 30,
      lsns: true,
      snapshots: true,
    },
    { table_name: "public.u", key_columns: ["id"], conflict_count: 0, lsns: true, snapshots: true },
  ]);
  expect(
    await a.query(
      "select category, count(*)::int, count(local_digest)::int as l, count(peer_digest)::int as p from steep_repl.overlap_rows where overlap_id = $1 group by 1 order by 1",
      [row.overlap_id],
    ),
  ).toEqual([
    { category: "conflict", count: 30, l: 30, p: 30 },
    { category: "local_only", count: 10, l: 10, p: 0 },
    { category: "remote_only", count: 20, l: 0, p: 20 },
  ]);
  await waitUntil(
    async () => heard.at(-1),
    (last) => last?.status === "complete",
    "the last notification",
  );
  expect(heard.at(-1)).toMatchObject({
    op: "overlap",
    overlap_id: row.overlap_id,
    phase: "complete",
    percent: 100,
  });
  await listener.end();

  // overlap_rows shows what was kept, and which columns differ now
  await a.query("update t set v = (select 'v100') where id = 200");
  const conflicts = await a.query(
    "select * from steep_repl.overlap_rows($1, 'public.t', 'conflict', 3)",
    [peer],
  );
  expect(conflicts).toHaveLength(3);
  for (const conflict of conflicts)
    expect(conflict).toMatchObject({
      category: "conflict",
      key: { id: expect.stringMatching(/00$/) },
      differing_columns: ["v"],
    });
  const missing = await a.query(
    "select * from steep_repl.overlap_rows($1, 'public.t', 'local_only')",
    [peer],
  );
  expect(missing.map((r) => Number((r.key as { id: string }).id)).sort((x, y) => x - y)).toEqual([
    1, 2, 3, 4, 5, 6, 7, 8, 9, 10,
  ]);
  expect(new Set(missing.map((r) => r.differing_columns))).toEqual(new Set([null]));
  await a.query("update t set v = 'v200' where id = 200");
});

test("overlap_rows compares now where nothing was kept", async () => {
  const named = b.uri();
  const rows = await a.query(
    "select category, count(*)::int from steep_repl.overlap_rows($1, 'public.t') group by 1 order by 1",
    [named],
  );
  expect(rows).toEqual([
    { category: "conflict", count: 30 },
    { category: "local_only", count: 10 },
    { category: "remote_only", count: 20 },
  ]);
  await expect(
    a.query("select * from steep_repl.overlap_rows($1, 'public.t', 'odd')", [named]),
  ).rejects.toMatchObject({ code: "22023" });
  await expect(
    a.query("select * from steep_repl.overlap_rows($1, 'public.t', null, 0)", [named]),
  ).rejects.toMatchObject({ code: "22023" });
});

test("overlap_rows says which comparison it answers from, and can be told", async () => {
  const rows = (more: string, table = "public.t") =>
    a.query(
      `select key ->> 'id' as id, overlap_id from steep_repl.overlap_rows($1, '${table}', 'local_only'${more})`,
      [peer],
    );
  const of = (found: Awaited<ReturnType<typeof rows>>) => [
    ...new Set(found.map((row) => row.overlap_id)),
  ];
  const compare = async (keys = "null") => {
    const [queued] = await a.query<{ overlap_id: string; operation_id: string }>(
      `select * from steep_repl.start_overlap($1, '{public.t}', ${keys})`,
      [peer],
    );
    await endOfOverlap(a, queued?.operation_id ?? "");
    return queued?.overlap_id ?? "";
  };
  const first = await compare();
  const byKey = await compare(`'{"public.t": ["id"]}'`);
  const latest = await compare();
  expect(of(await rows(""))).toEqual([latest]);
  expect(of(await rows(`, overlap_id => '${first}'`))).toEqual([first]);
  // the key that was asked for, or none that was kept
  expect(of(await rows(`, primary_keys => '{"public.t": ["id"]}'`))).toEqual([latest]);
  expect(of(await rows(`, overlap_id => '${byKey}'`))).toEqual([byKey]);
  const now = await rows(`, primary_keys => '{"public.t": ["id", "v"]}'`);
  expect([of(now), now.length > 0]).toEqual([[null], true]);

  const refusal = (more: string, table?: string) => expect(rows(more, table)).rejects;
  await refusal(`, overlap_id => 'none'`).toMatchObject({ code: "42704" });
  await refusal(`, overlap_id => '${first}'`, "public.other").toMatchObject({ code: "22023" });
  await refusal(`, overlap_id => '${first}', primary_keys => '{"public.t": ["id"]}'`).toMatchObject(
    { code: "22023", message: "primary_keys cannot be given with overlap_id" },
  );
  await expect(
    a.query(`select steep_repl.overlap_rows('host=127.0.0.1', 'public.t', overlap_id => $1)`, [
      first,
    ]),
  ).rejects.toMatchObject({ code: "22023", message: "the comparison was with another peer" });
});

test("no table, log line or session shows the password", async () => {
  const queued = await startOverlap(a, peer, ["public.t"]);
  await endOfOverlap(a, queued.operation_id);
  const failing = await startOverlap(a, peer.replace("dbname=postgres", "dbname=absent"), [
    "public.t",
  ]);
  const failed = await endOfOverlap(a, failing.operation_id);
  expect(failed).toMatchObject({
    status: "failed",
    error_sqlstate: "08001",
    error_message: expect.stringContaining('database "absent" does not exist'),
  });
  const everything = await a.query(
    `select query_to_xml(format('select * from steep_repl.%I', relname), true, false, '')::text as text
     from pg_class where relnamespace = 'steep_repl'::regnamespace and relkind = 'r'`,
  );
  for (const { text } of everything) expect(text).not.toContain(secret);
  expect(await a.log()).not.toContain(secret);
  expect(
    JSON.stringify(await a.query("select * from pg_stat_activity where pid <> pg_backend_pid()")),
  ).not.toContain(secret);
});

test("after a restart a job with a connection string says to give it again, and goes on with it", async () => {
  const queued = await whileJobsWait(a, async () => {
    const row = await startOverlap(a, peer, ["public.t"]);
    await a.stop("immediate");
    await a.start();
    return row;
  });
  const failed = await endOfOverlap(a, queued.operation_id);
  expect(failed).toMatchObject({
    status: "failed",
    error_sqlstate: "55000",
    error_message: expect.stringContaining("the connection string of this operation is gone"),
    error_hint: expect.stringContaining(`retry_operation(${queued.operation_id}, peer => '...')`),
  });
  await expect(
    a.query("select steep_repl.retry_operation($1)", [queued.operation_id]),
  ).rejects.toMatchObject({ code: "55000" });
  await expect(
    a.query("select steep_repl.retry_operation($1, $2)", [
      queued.operation_id,
      `host=elsewhere password=${secret}`,
    ]),
  ).rejects.toMatchObject({ code: "22023" });
  await a.query("select steep_repl.retry_operation($1, $2)", [queued.operation_id, peer]);
  expect(await endOfOverlap(a, queued.operation_id)).toMatchObject({
    status: "complete",
    conflict_count: "30",
  });
});

test("a cancelled one ends within 2 s, at the peer too", async () => {
  const blocker = await b.connect();
  await blocker.query("begin; lock table t");
  const queued = await startOverlap(a, peer, ["public.t"]);
  await waitUntil(
    () =>
      b.query(
        "select 1 from pg_stat_activity where application_name = 'steep_repl peer' and wait_event_type = 'Lock'",
      ),
    (found) => found.length === 1,
    "the peer's query waits",
  );
  const since = await cancelJob(a, queued, {});
  expect(await endOfOverlap(a, queued.operation_id)).toMatchObject({ status: "cancelled" });
  expect(await msUntilEnd(a, queued, since, {})).toBeLessThan(2_000);
  await waitUntil(
    () => b.query("select 1 from pg_stat_activity where application_name = 'steep_repl peer'"),
    (found) => found.length === 0,
    "the peer's session is gone",
    { timeoutMs: 5_000 },
  );
  await blocker.query("rollback");
  await blocker.end();
});

test("kill -9 of the server fails it, and a foreign server as the peer is enough to retry", async () => {
  await a.query(`create server b foreign data wrapper dblink_fdw options (host '127.0.0.1', port '${b.port}', dbname 'postgres');
    create user mapping for postgres server b options (user 'visitor', password '${secret}')`);
  const blocker = await b.connect();
  await blocker.query("begin; lock table t");
  const queued = await startOverlap(a, "b", ["public.t"]);
  expect(queued.peer).toBe("b");
  await waitUntil(
    () =>
      b.query(
        "select 1 from pg_stat_activity where application_name = 'steep_repl peer' and wait_event_type = 'Lock'",
      ),
    (found) => found.length === 1,
    "the peer's query waits",
  );
  await a.kill9();
  await blocker.query("rollback");
  await blocker.end();
  await a.start();
  expect(await endOfOverlap(a, queued.operation_id)).toMatchObject({
    status: "failed",
    error_sqlstate: "57P02",
  });
  await a.query("select steep_repl.retry_operation($1)", [queued.operation_id]);
  expect(await endOfOverlap(a, queued.operation_id)).toMatchObject({
    status: "complete",
    conflict_count: "30",
  });
});

test("a role compares with its own rights, and nobody else sees its rows", async () => {
  await createRole(a, "postgres", "auditor");
  await createRole(a, "postgres", "other");
  await a.query("grant select on t, u to auditor");
  await expect(startOverlap(a, b.uri(), ["public.t"], "auditor")).rejects.toMatchObject({
    code: "2F003",
  });
  // the password has to be used: trust authentication uses none
  const trusting = b.uri().replace("postgres@", "postgres:unused@");
  const refused = await startOverlap(a, trusting, ["public.t"], "auditor");
  expect(await endOfOverlap(a, refused.operation_id)).toMatchObject({
    status: "failed",
    error_sqlstate: "2F003",
  });
  await a.query(
    "grant usage on foreign server b to auditor; create user mapping for auditor server b options (user 'visitor', password 'x')",
  );
  await a.query("create table secret (id int primary key); revoke all on secret from auditor");
  const [row] = await a.query<{ id: string }>(
    "insert into steep_repl.work_queue (operation, params) values ('overlap', $1) returning id",
    [{ peer: b.uri(), tables: ["public.t"], catch_up_timeout: "1 min" }],
  );
  const own = await endOfOverlap(a, row?.id as string);
  expect(own.status).toBe("complete");
  for (const table of ["overlaps", "overlap_tables", "overlap_rows"]) {
    const [count] = await a.query<{ n: number }>(
      `select count(*)::int as n from steep_repl.${table} where overlap_id = $1`,
      [own.overlap_id],
      { user: "other" },
    );
    expect(count).toEqual({ n: 0 });
    for (const statement of [
      `delete from steep_repl.${table}`,
      `update steep_repl.${table} set overlap_id = ''`,
    ])
      await expect(a.query(statement, [], { user: "other" })).rejects.toMatchObject({
        code: "42501",
      });
  }
  await a.query("drop table secret; drop user mapping for auditor server b");
  await dropRole(a, "postgres", "auditor");
  await dropRole(a, "postgres", "other");
});
