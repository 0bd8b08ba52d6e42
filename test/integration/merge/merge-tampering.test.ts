import type { Client } from "pg";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { auditOf, endOfMerge, type MergeRow, mergeRow, startMerge } from "../../support/merge.ts";
import { type MergePair, setMergePair } from "../../support/merge-pair.ts";
import { createRole, dropRole, whileJobsWait } from "../../support/roles.ts";

/*
 * What a role with the documented grants can gain from the tables of merges, and from jobs that it
 * queues by hand: nothing. It may merge what it may write, with peers that it may use.
 */
let pair: MergePair;
setMergePair(
  "merge-tampering",
  (p) => {
    pair = p;
  },
  { "steep_repl.poll_interval": 100 },
);

const user = "intruder";
const dba = { database: "postgres" };
beforeAll(async () => {
  for (const name of [user, "watcher"]) await createRole(pair.a, "postgres", name);
  await pair.a.query("grant set on parameter session_replication_role to intruder");
  await pair.a.query("grant pg_monitor to watcher");
});
afterEach(() =>
  pair.a.query("delete from steep_repl._merge_intents; delete from steep_repl.nodes"),
);
afterAll(async () => {
  for (const name of [user, "watcher"]) await dropRole(pair.a, "postgres", name);
});

/** t, with rows only here, only there and a conflict; what may be done with it is the same for all. */
const make = async () => {
  await pair.both(
    "create table t (id int primary key, v text); create table secret (id int primary key)",
  );
  await pair.a.query(
    `insert into t values (1, 'here'), (3, 'mine'); grant select, insert, update, delete on t to merger, ${user};
     insert into secret values (1); grant select, insert, update, delete on secret to merger`,
  );
  await pair.b.query(
    `insert into t values (2, 'there'), (3, 'yours'); grant select, insert, update, delete on t, secret to merger`,
  );
};

/** A merge of the role merger that is over, with a conflict that is open. */
async function theirs(): Promise<MergeRow> {
  const merge = await pair.mergeAsMerger("strategy => 'manual'", { tables: ["public.t"] });
  expect(merge).toMatchObject({ status: "complete", rows_merged: "2", requested_by: "merger" });
  return merge;
}

const tables = ["merges", "merge_tables", "merge_audit_log", "merge_conflicts", "_merge_intents"];

/** The same of the intruder. */
async function own(): Promise<MergeRow> {
  const args = "strategy => 'manual'";
  return pair.merge(args, { user, peer: pair.asMerger, tables: ["public.t"] });
}

/** All that is written down of merges. */
const records = async () => {
  const all: unknown[] = [];
  for (const table of tables)
    all.push(await pair.a.query(`select t::text from steep_repl.${table} t order by 1`));
  return all;
};

/** As if it were not known whether the peer has committed the batch that inserted a row there. */
const keepIntent = (merge_id: string, xid: string) =>
  pair.a.query(
    `insert into steep_repl._merge_intents select merge_id, batch, $2, table_name, 1
     from steep_repl.merge_audit_log where merge_id = $1 and action = 'insert_remote'`,
    [merge_id, xid],
  );
const intentsOf = (merge_id: string) =>
  pair.a.query("select * from steep_repl._merge_intents where merge_id = $1", [merge_id]);

/** As undo_merge and start_merge queue them. */
const queued = {
  strategy: "prefer-local",
  dry_run: false,
  last_modified_column: null,
  local_only: "push",
  remote_only: "pull",
  backlog: "refuse",
  other_subscribers: "ignore",
  tables: ["public.t"],
  primary_keys: { "public.t": ["id"] },
  is_conninfo: true,
};

/** Queue a job by hand, with a connection string that nobody but the role has given. */
async function queue(
  operation: "bidirectional_merge" | "merge_undo",
  params: object,
  peer: string | null = pair.asMerger,
): Promise<MergeRow> {
  const client = await pair.a.connect({ ...dba, user });
  await client.query("begin");
  const { rows } = await client.query(
    "insert into steep_repl.work_queue (operation, params) values ($1, $2) returning id, merge_id",
    [operation, { ...queued, peer: "host=127.0.0.1", ...params }],
  );
  if (peer !== null) await client.query("select steep_repl._keep_peer($1, $2)", [rows[0].id, peer]);
  await client.query("commit");
  await client.end();
  return endOfMerge(pair.a, rows[0] as MergeRow);
}

describe.each(["origin", "replica"])("with session_replication_role = %s a role", (setting) => {
  let intruder: Client;
  beforeEach(async () => {
    await make();
    intruder = await pair.a.connect({ ...dba, user });
    await intruder.query(`set session_replication_role = ${setting}`);
  });
  afterEach(() => intruder.end());

  test("can write nothing of what merges have done, its own neither", async () => {
    await theirs();
    const { merge_id } = await own();
    const before = await records();
    const values = {
      merges: `(merge_id, operation_id, requested_by, requested_by_oid, system_identifier, database_oid)
        values ('x', 1, '${user}', '${user}'::regrole, steep_repl._system_identifier(), 1)`,
      merge_tables: `values ('${merge_id}', 'public.x', '{id}', 0, 0, 0, 0, 0)`,
      merge_audit_log: `(merge_id, table_name, key, category, action, requested_by, batch)
        values ('${merge_id}', 'public.t', '{"id": "1"}', 'local_only', 'insert_remote', '${user}', 1)`,
      merge_conflicts: `(merge_id, table_name, key, reason) values ('${merge_id}', 'public.t', '{"id": "1"}', 'conflict')`,
      _merge_intents: `values ('${merge_id}', 1, '1', 'public.t', 1)`,
    };
    for (const [table, row] of Object.entries(values))
      for (const sql of [
        `insert into steep_repl.${table} ${row}`,
        `update steep_repl.${table} set merge_id = 'x'`,
        `update steep_repl.${table} set merge_id = 'x' where false`,
        `delete from steep_repl.${table}`,
        `merge into steep_repl.${table} m using (values (1)) v on true when matched then delete`,
        `truncate steep_repl.${table} cascade`,
      ])
        await expect(intruder.query(sql), sql).rejects.toMatchObject({ code: "42501" });
    expect(await records()).toEqual(before);
  });

  test("sees nothing of other roles' merges, nor can it lock a row of its own", async () => {
    const { merge_id } = await theirs();
    await keepIntent(merge_id, "9");
    const mine = await own();
    for (const table of tables) {
      const all = `select merge_id from steep_repl.${table}`;
      const ids = async (client: { query: Client["query"] }) =>
        (await client.query(all)).rows.map((row) => row.merge_id);
      const superuser = await pair.a.connect(dba);
      expect(await ids(superuser), table).toContain(merge_id);
      await superuser.end();
      expect(await ids(intruder), table).not.toContain(merge_id);
      expect((await intruder.query(`${all} for update`)).rowCount, table).toBe(0);
    }
    const { rows } = await intruder.query("select merge_id from steep_repl.merge_conflicts");
    expect(rows).toContainEqual({ merge_id: mine.merge_id });
  });

  test("cannot choose who a merge runs as, its id or its state", async () => {
    const { rows } = await intruder.query(
      `insert into steep_repl.work_queue (operation, params, status, merge_id, requested_by, requested_by_oid)
       values ('bidirectional_merge', $1, 'running', 'merge_chosen', 'merger', 'merger'::regrole) returning *`,
      [{ ...queued, peer: "nobody", is_conninfo: false, requested_by: "merger" }],
    );
    expect(rows[0]).toMatchObject({ status: "pending", requested_by: user });
    expect(rows[0].merge_id).toMatch(/^merge_\d{8}_\d{6}_[0-9a-f]{8}$/);
    expect(await endOfMerge(pair.a, rows[0])).toMatchObject({
      ...{ status: "failed", requested_by: user, error_sqlstate: "42704" },
    });
  });
});

describe("a job that a role has queued by hand", () => {
  beforeEach(make);

  test("merges what that role may write, as start_merge does", async () => {
    expect(await queue("bidirectional_merge", {})).toMatchObject({
      ...{ status: "complete", requested_by: user, rows_merged: "3" },
    });
  });

  test("that says it undoes something is a merge like any other", async () => {
    expect(await queue("bidirectional_merge", { undoes: "merge_gone" })).toMatchObject({
      ...{ status: "complete", undoes: null },
    });
  });

  test("writes nothing that the role may not write, whatever the peer's role may", async () => {
    const before = await pair.versions();
    const row = await queue("bidirectional_merge", {
      ...{ tables: ["public.secret"], primary_keys: null },
    });
    expect(row).toMatchObject({ status: "failed", error_sqlstate: "42501" });
    expect(row.error_message).toContain("public.secret");
    expect(await pair.versions()).toEqual(before);
  });

  test.each(["bidirectional_merge", "merge_undo"] as const)(
    "cannot use another role's node, for a %s",
    async (operation) => {
      const undoes = (await own()).merge_id;
      await pair.a.query(
        "select steep_repl.register_node('theirs', 'theirs', '127.0.0.1', $1, username => 'merger')",
        [pair.b.port],
        { user: "merger" },
      );
      const before = await pair.versions();
      const job = { undoes, peer: "theirs", is_conninfo: false };
      // as what is kept for the job, too
      for (const kept of [null, "theirs"]) {
        const row = await queue(operation, job, kept);
        expect(row).toMatchObject({ status: "failed", error_sqlstate: "42501" });
        expect(row.error_message).toContain('permission denied to connect to node "theirs"');
      }
      expect(await queue(operation, { ...job, is_conninfo: true }, null)).toMatchObject({
        ...{ status: "failed", error_sqlstate: "55000" },
      });
      await expect(
        startMerge(pair.a, "theirs", { user, tables: ["public.t"] }),
      ).rejects.toMatchObject({ code: "42501" });
      expect(await pair.versions()).toEqual(before);
    },
  );

  test.each(["bidirectional_merge", "merge_undo"] as const)(
    "connects with no rights of the server's, for a %s",
    async (operation) => {
      const undoes = (await own()).merge_id;
      for (const peer of [pair.b.uri(), `host=127.0.0.1 port=${pair.b.port} user=postgres`])
        for (const kept of [null, peer])
          expect(
            await queue(operation, { undoes, peer, is_conninfo: kept !== null }, kept),
          ).toMatchObject({ status: "failed", error_sqlstate: "2F003" });
    },
  );

  test("takes nothing back of what another role's merge did", async () => {
    const merge = await theirs();
    const audit = await auditOf(pair.a, merge);
    const before = await pair.versions();
    expect(await queue("merge_undo", { undoes: merge.merge_id })).toMatchObject({
      ...{ status: "failed", error_sqlstate: "42501", rows_merged: "0" },
    });
    expect(await pair.versions()).toEqual(before);
    expect(await auditOf(pair.a, merge)).toEqual(audit);
    expect(await mergeRow(pair.a, merge)).toEqual(merge);
  });

  test.each(["bidirectional_merge", "merge_undo"] as const)(
    "does not decide about batches in doubt of another role's merge, for a %s",
    async (operation) => {
      const merge = await theirs();
      const peer = await pair.b.connect();
      await peer.query("begin");
      const { rows } = await peer.query("select pg_current_xact_id()::text as xid");
      await peer.query("rollback");
      await peer.end();
      await keepIntent(merge.merge_id, rows[0].xid);
      const [audit, before] = [await auditOf(pair.a, merge), await intentsOf(merge.merge_id)];
      expect(before).toHaveLength(1);
      await queue(operation, { undoes: merge.merge_id });
      expect(await auditOf(pair.a, merge)).toEqual(audit);
      expect(await mergeRow(pair.a, merge)).toEqual(merge);
      expect(await intentsOf(merge.merge_id)).toEqual(before);
    },
  );

  test("leaves other roles' conflicts to them", async () => {
    const merge = await theirs();
    const conflicts = () =>
      pair.a.query(
        "select c.* from steep_repl.merge_conflicts c join steep_repl.merges m using (merge_id) where m.requested_by = 'merger'",
      );
    const before = await conflicts();
    expect(before).toHaveLength(1);
    await queue("bidirectional_merge", { strategy: "manual", peer: merge.peer });
    expect(await conflicts()).toEqual(before);
  });

  test.each<[string, "bidirectional_merge" | "merge_undo", object, string]>([
    ["an undo of nothing", "merge_undo", {}, "42501"],
    ["an undo of null", "merge_undo", { undoes: null }, "42501"],
    ["an undo of a number", "merge_undo", { undoes: 7 }, "42501"],
    ["an undo of an object", "merge_undo", { undoes: { a: 1 } }, "42501"],
    ["an undo of what is not there", "merge_undo", { undoes: "merge_gone" }, "42501"],
    ["text for dry_run", "bidirectional_merge", { dry_run: "true" }, "22023"],
    ["no strategy", "bidirectional_merge", { strategy: null }, "22023"],
    ["an unknown choice", "bidirectional_merge", { local_only: "truncate" }, "22023"],
    ["text for tables", "bidirectional_merge", { tables: "public.t" }, "22023"],
    ["numbers for tables", "bidirectional_merge", { tables: [1] }, "22023"],
    ["null for a table", "bidirectional_merge", { tables: [null] }, "22023"],
    ["text for keys", "bidirectional_merge", { primary_keys: "id" }, "22023"],
    ["a number for a column", "bidirectional_merge", { last_modified_column: 7 }, "22023"],
    ["a number for the peer", "bidirectional_merge", { peer: 7, is_conninfo: false }, "22023"],
  ])("fails with %s, and nothing else does", async (_, operation, params, error_sqlstate) => {
    const before = await pair.versions();
    const bystander = await pair.a.connect();
    const kept = "is_conninfo" in params ? null : pair.asMerger;
    expect(await queue(operation, params, kept)).toMatchObject({
      ...{ status: "failed", error_sqlstate, rows_merged: "0" },
    });
    expect(await bystander.query("select 1 as alive")).toMatchObject({ rows: [{ alive: 1 }] });
    await bystander.end();
    expect(await pair.versions()).toEqual(before);
  });
});

describe("of another role's merge a role", () => {
  beforeEach(make);

  test.each([
    ["that does not see it", user, "42704"],
    ["that may watch it", "watcher", "42501"],
  ])("%s can undo, retry, resolve or cancel nothing", async (_, who, code) => {
    const merge = await theirs();
    const [conflict] = await pair.a.query<{ id: string }>(
      "select conflict_id as id from steep_repl.merge_conflicts where merge_id = $1",
      [merge.merge_id],
    );
    const before = [await records(), await pair.versions()];
    const as = await pair.a.connect({ ...dba, user: who });
    const refused = async (call: string, values: unknown[], sqlstate: string) =>
      expect(as.query(`select steep_repl.${call}`, values), call).rejects.toMatchObject({
        code: sqlstate,
      });
    await refused("undo_merge($1)", [merge.merge_id], code);
    await refused("undo_merge($1, $2)", [merge.merge_id, pair.asMerger], code);
    await refused("retry_operation($1)", [merge.operation_id], "42501");
    await refused("retry_operation($1, $2)", [merge.operation_id, pair.asMerger], "42501");
    for (const choice of ["local", "remote"])
      await refused("resolve_conflict($1, $2, $3)", [conflict?.id, choice, pair.asMerger], "42704");
    await refused("_resolve_write($1, 'local', 'x')", [conflict?.id], "42704");
    await as.end();
    expect([await records(), await pair.versions()]).toEqual(before);
  });

  test.each([
    ["that does not see it", user, "42704"],
    ["that may watch it", "watcher", "42501"],
  ])("%s cannot cancel it before it starts", async (_, who, code) => {
    const merge = await whileJobsWait(pair.a, async () => {
      const started = await startMerge(pair.a, pair.asMerger, {
        ...{ user: "merger", tables: ["public.t"] },
      });
      await expect(
        pair.a.query("select steep_repl.cancel_merge($1)", [started.merge_id], { user: who }),
      ).rejects.toMatchObject({ code });
      return started;
    });
    expect(await endOfMerge(pair.a, merge)).toMatchObject({ status: "complete" });
  });
});

describe("a merge that is forged in a session", () => {
  const gap = ["select concat_ws(chr(10), '{1}', '{1}', '[{\"id\": \"1\"}]') from ", " x limit 1"];
  const local = { read: gap, lock: gap, update: ["select '1 0' where ", "::text is not null"] };
  const plan = { key: ["id"], keys: "'unnest(array[1])'", merge: { local, peer: local } };

  test.each([
    ["without a table", plan],
    ["of a table that is not there", { ...plan, table: "public.forged" }],
  ])("%s is not written down, and stops nobody else", async (_, forged) => {
    await make();
    const merge = await own();
    const [conflict] = await pair.a.query<{ id: string }>(
      "select conflict_id as id from steep_repl.merge_conflicts where merge_id = $1",
      [merge.merge_id],
    );
    const audit = await auditOf(pair.a, merge);
    const bystander = await pair.a.connect();
    const as = await pair.a.connect({ ...dba, user });
    await as.query(
      `create temp table steep_repl_plans (no int, plan jsonb);
       create temp table steep_repl_steps (step int, no int, category text, action text, turn int default 0, last int default 0);
       create temp table steep_repl_merge (is_local_first boolean, replicates boolean, round int, current int);
       create temp table steep_repl_differences (no int, category text, key text[], local_digest bigint,
         peer_digest bigint, action text, round int);
       insert into steep_repl_steps values (1, 1, null, 'update_local', 0);
       insert into steep_repl_merge values (true, false, 1, 1);
       insert into steep_repl_differences values (1, 'conflict', '{1}', 1, 1, 'update_local', 1)`,
    );
    await as.query("insert into steep_repl_plans values (1, $1)", [forged]);
    await as.query("select public.dblink_connect('x', $1)", [pair.asMerger]);
    // whose tables are there already was not planned by us
    await expect(
      as.query("select steep_repl._resolve_write($1, 'local', 'x')", [conflict?.id]),
    ).rejects.toMatchObject({ code: "42P07" });
    expect(await bystander.query("select 1 as alive")).toMatchObject({ rows: [{ alive: 1 }] });
    expect(await auditOf(pair.a, merge)).toEqual(audit);
    for (const client of [as, bystander]) await client.end();
  });
});

describe("where a job of another role connects", () => {
  const elsewhere = "host=127.0.0.1 port=1 dbname=evil user=evil password=evil";

  /** Those who may act on others' jobs in some way, but are not their role. */
  const others = [
    ["a member of pg_signal_backend", "grant pg_signal_backend to %I"],
    ["a member of pg_monitor", "grant pg_monitor to %I"],
    [
      "an administrator of the role",
      "grant merger to %I with admin true, inherit false, set false",
    ],
  ] as const;

  test.each(others)("is not for %s to say", async (_, grant) => {
    await make();
    const merge = await theirs();
    await pair.a.query("create role other login");
    try {
      await pair.a.query(
        `grant usage on schema steep_repl to other; grant select, insert, update, delete on all tables in schema steep_repl to other;
         ${grant.replace("%I", "other")}`,
      );
      await pair.a.query("update steep_repl.work_queue set status = 'failed' where id = $1", [
        merge.operation_id,
      ]);
      const client = await pair.a.connect({ ...dba, user: "other" });
      const denied = { code: "42501" };
      const id = merge.operation_id;
      for (const call of [
        `_retry(${id})`,
        `retry_operation(${id}, '${elsewhere}')`,
        `_keep_peer(${id}, '${elsewhere}')`,
      ])
        await expect(client.query(`select steep_repl.${call}`), call).rejects.toMatchObject(denied);
      // nor once somebody else has queued it again
      await client.query("begin");
      await expect(
        client.query(`select steep_repl._keep_peer(${id}, '${elsewhere}')`),
      ).rejects.toMatchObject(denied);
      await client.query("rollback");
      await client.end();
      expect(await mergeRow(pair.a, merge)).toMatchObject({ status: "complete" });
    } finally {
      await dropRole(pair.a, "postgres", "other");
    }
  });

  test("is for those to say who can be that role", async () => {
    await make();
    const merge = await theirs();
    await pair.a.query("update steep_repl.work_queue set status = 'failed' where id = $1", [
      merge.operation_id,
    ]);
    await pair.a.query(`grant merger to ${user}`);
    try {
      await pair.a.query(
        "select steep_repl.retry_operation($1, $2)",
        [merge.operation_id, pair.asMerger],
        {
          ...dba,
          user,
        },
      );
      expect(await endOfMerge(pair.a, merge)).toMatchObject({ status: "complete" });
    } finally {
      await pair.a.query(`revoke merger from ${user}`);
    }
  });
});
