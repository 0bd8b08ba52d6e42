import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { auditOf, endOfMerge, type MergeRow, runMerge } from "../../support/merge.ts";
import { type MergePair, password, setMergePair } from "../../support/merge-pair.ts";
import { createRole, dropRole } from "../../support/roles.ts";

/*
 * Whoever takes a merge back: what it wrote came from the role that merged, and so does code that runs where it is written.
 * So that is done with the rights of that role, in the tables that it could merge.
 */

let pair: MergePair;
setMergePair("merge-undo-rights", (p) => {
  pair = p;
});

beforeEach(async () => {
  await createRole(pair.a, "postgres", "stranger");
  await pair.a.query(
    `create server b foreign data wrapper dblink_fdw options (host '127.0.0.1', port '${pair.b.port}', dbname 'postgres');
     create user mapping for merger server b options (user 'merger', password '${password}');
     create user mapping for postgres server b options (user 'merger', password '${password}');
     grant usage on foreign server b to merger;
     select steep_repl.register_node('node-b', 'b', foreign_server => 'b')`,
  );
  await pair.both(
    `create table t (id int primary key, v text); create table secret (id int primary key, v text);
     grant select, insert, update, delete on t to merger; insert into secret values (1, 'kept')`,
  );
  await pair.a.query(
    `alter table t owner to merger; grant create on schema public to merger;
     create table log (who text); grant insert on log to merger`,
  );
  await pair.b.query("insert into t select g, 'there' from generate_series(1, 120) g");
});
afterEach(async () => {
  await pair.a.query(
    `select steep_repl.remove_node('node-b'); drop server b cascade; revoke create on schema public from merger`,
  );
  await dropRole(pair.a, "postgres", "stranger");
});

const mergeAsMerger = (args = "strategy => 'prefer-local'") =>
  runMerge(pair.a, "node-b", { user: "merger", tables: ["public.t"], args });

async function undo(merge: MergeRow, peer: string | null, user = "postgres"): Promise<MergeRow> {
  const [row] = await pair.a.query<MergeRow>(
    "select * from steep_repl.undo_merge($1, $2)",
    [merge.merge_id, peer],
    { user },
  );
  if (!row) throw new Error("undo_merge answered no row");
  return endOfMerge(pair.a, row);
}

/** A trigger of merger's on t here; at the peer one that looks the same. */
async function triggerOn(body: string): Promise<void> {
  const trigger = (does: string) =>
    `create function watch() returns trigger language plpgsql as $$ begin ${does} return coalesce(new, old); end $$;
     create trigger watch before insert or update or delete on t for each row execute function watch()`;
  await pair.a.query(trigger(body), [], { user: "merger" });
  await pair.b.query(trigger(""));
}

test("a superuser's undo runs as the role that merged, and says who asked for it", async () => {
  const merge = await mergeAsMerger();
  expect(merge).toMatchObject({ error_message: null, status: "complete", rows_merged: "120" });
  await triggerOn("insert into public.log values (current_user);");
  const undone = await undo(merge, null);
  expect(undone).toMatchObject({
    ...{ error_message: null, status: "complete", rows_merged: "120", requested_by: "merger" },
  });
  expect(await pair.a.query("select distinct who from log")).toEqual([{ who: "merger" }]);
  expect(await pair.a.query("select from t")).toEqual([]);
  expect(
    await pair.a.query(
      "select requested_by, params ->> 'asked_by' as asked_by from steep_repl.work_queue where id = $1",
      [undone.operation_id],
    ),
  ).toEqual([{ requested_by: "merger", asked_by: "postgres" }]);
});

describe("what is written down of a merge", () => {
  const forge = (table: string, key: string) =>
    triggerOn(
      `if to_regclass('pg_temp.steep_repl_tables') is not null then
         update pg_temp.steep_repl_tables set name = '${table}';
         update pg_temp.steep_repl_plans set plan = jsonb_set(jsonb_set(plan, '{table}', '"${table}"'), '{key}', '${key}');
       end if;`,
    );

  test.each([
    ["another table", "public.secret", '["id"]'],
    ["another key", "public.t", '["v"]'],
    ["what is no table", "x; drop table public.secret", "[]"],
  ])(
    "names its table and key, whatever code of the role makes of the plans: %s",
    async (_, table, key) => {
      await forge(table, key);
      const merge = await mergeAsMerger();
      const audit = await auditOf(pair.a, merge);
      // of the first batch, at least: a plan that was forged meanwhile does not fit the rows that come next
      expect(audit.length).toBeGreaterThanOrEqual(50);
      expect(new Set(audit.map((r) => r.table_name))).toEqual(new Set(["public.t"]));
      for (const row of audit) expect(Object.keys(row.key)).toEqual(["id"]);
      expect(
        await pair.a.query(
          "select table_name, key_columns from steep_repl.merge_tables where merge_id = $1",
          [merge.merge_id],
        ),
      ).toEqual([{ table_name: "public.t", key_columns: ["id"] }]);
      await undo(merge, null);
      for (const server of [pair.a, pair.b])
        expect(await server.query("select * from secret")).toEqual([{ id: 1, v: "kept" }]);
    },
  );

  test("is what the step said that was done", async () => {
    await triggerOn(
      `if to_regclass('pg_temp.steep_repl_steps') is not null then
         update pg_temp.steep_repl_steps set action = 'update_local', size = 5;
       end if;`,
    );
    const merge = await mergeAsMerger();
    expect(merge).toMatchObject({ status: "failed", error_sqlstate: "22000" });
    const audit = await auditOf(pair.a, merge);
    expect(new Set(audit.map((r) => r.action))).toEqual(new Set(["insert_local"]));
    expect(await pair.b.query("select count(*)::int as n from t")).toEqual([{ n: 120 }]);
  });
});

test("a connection string may only be given by the role that merged, whose code could use it", async () => {
  const merge = await runMerge(pair.a, pair.asMerger, { user: "merger", tables: ["public.t"] });
  await expect(undo(merge, pair.asMerger)).rejects.toMatchObject({
    code: "42501",
    message: "only the role that merged may give a connection string",
    hint: expect.stringContaining("SET ROLE"),
  });
  expect(await undo(merge, pair.asMerger, "merger")).toMatchObject({
    status: "complete",
    rows_merged: "120",
  });
});

test("what queues an undo asks for all that undo_merge asks for", async () => {
  const merge = await mergeAsMerger();
  const queue = (user: string, id: string | null, peer: string | null) =>
    pair.a.query("select steep_repl._queue_undo($1, $2) as id", [id, peer], { user });
  for (const [user, id, peer] of [
    ["stranger", merge.merge_id, "node-b"],
    ["merger", merge.merge_id, "elsewhere"],
    ["merger", merge.merge_id, "..."],
    ["merger", "merge_of_nobody", "node-b"],
    ["postgres", merge.merge_id, "host=elsewhere"],
  ] as const)
    await expect(queue(user, id, peer), `${user} ${peer}`).rejects.toMatchObject({ code: "42501" });
  await pair.a.query("revoke insert on steep_repl.work_queue from merger");
  await expect(queue("merger", merge.merge_id, "node-b")).rejects.toMatchObject({ code: "42501" });
  await pair.a.query("grant insert on steep_repl.work_queue to merger");
  expect(await queue("merger", null, null)).toEqual([{ id: null }]);
  // nobody else says for whom a job is
  expect(await pair.a.query("select steep_repl._queued_for() as role")).toEqual([{ role: null }]);
  const [job] = await pair.a.query<MergeRow>(
    `insert into steep_repl.work_queue (operation, params, requested_by, requested_by_oid)
     select w.operation, w.params || jsonb_build_object('undoes', $1::text), 'merger', 'merger'::regrole
     from (select 'merge_undo' as operation, params from steep_repl.work_queue where merge_id = $1) w
     returning *`,
    [merge.merge_id],
  );
  if (!job) throw new Error("no job");
  expect(job).toMatchObject({ requested_by: "postgres" });
  expect(await endOfMerge(pair.a, job)).toMatchObject({
    status: "failed",
    error_sqlstate: "42501",
  });
});
