import { readFileSync } from "node:fs";
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { commentsIn } from "../../../plv8/build/function-comments.ts";
import { commentFiles } from "../../../plv8/build/sql-files.ts";
import { giveToServer } from "../../support/data-directory.ts";
import { inProject } from "../../support/pg.ts";
import { type Server, startServer } from "../../support/server.ts";

/* That functions raise what sql/comments/ says of them. Errors of jobs, and of peers that lie, have tests of their own. */

let server: Server;
beforeAll(async () => {
  server = await startServer({ name: "documented-errors" });
  const full = join(server.snapshotDir, "full");
  await mkdir(full);
  await writeFile(join(full, "file"), "");
  await giveToServer(full);
  await server.query(`
    create extension steep_repl cascade;
    create table t (id int primary key);
    create role plain login;
    grant usage on schema steep_repl to plain;
    grant select, insert, update, delete on all tables in schema steep_repl to plain;
    select steep_repl.register_node('here', 'Here', dbname => 'postgres');
    create publication p for table t`);
});
afterAll(() => server?.destroy());

const documented = new Map(
  Object.keys(commentFiles)
    .flatMap((file) => commentsIn(readFileSync(inProject("sql", file), "utf8")))
    .map((comment) => [comment.name, comment.errors.flatMap(([codes]) => codes.split(/,\s*/))]),
);

/** What all functions that queue or connect may raise; the page says it once. */
const common = ["42501", "55000", "0A000", "57014", "08001", "08006"];

const peer = "host=127.0.0.1 port=1 dbname=nowhere";

const cases: readonly (readonly [sqlstate: string, call: string, user?: string])[] = [
  ["22023", "register_node('', 'x')"],
  ["22023", "register_node('x', 'x', port => 0)"],
  ["22023", "register_node('x', 'x', priority => 101)"],
  ["22023", "register_node(repeat('x', 64), 'x')"],
  ["22023", "register_node('x', e'a\\nb')"],
  ["22023", "register_node('x', 'x', foreign_server => 'none')"],
  ["42501", "register_node('here', 'mine')", "plain"],
  ["42704", "node_status('none')"],
  ["42501", "remove_node('here')", "plain"],
  ["22023", "start_snapshot('/backups/x', compression => 'rar')"],
  ["22023", "start_snapshot('/backups/x', parallel => 65)"],
  ["22023", "start_snapshot('relative')"],
  ["22023", "start_snapshot('/backups/x', level => 99)"],
  ["22023", "start_snapshot('/backups/x', tables => '{pg_catalog.pg_class}')"],
  ["42P01", "start_snapshot('/backups/x', tables => '{public.none}')"],
  ["3F000", "start_snapshot('/backups/x', schemas => '{none}')"],
  ["42501", "start_snapshot('/elsewhere/x')", "plain"],
  ["42501", "start_snapshot('/backups/x', slot_name => 's', publications => '{p}')", "plain"],
  ["58P02", "start_snapshot('/backups/full')"],
  ["55000", "start_snapshot('/backups/x', slot_name => 's')"],
  ["55000", "start_snapshot('/backups/x', slot_name => 's', publications => '{none}')"],
  ["22023", "start_apply('/backups/x', parallel => 0)"],
  ["22023", "start_apply('/backups/x', sections => '{all}')"],
  ["22023", "start_apply('/backups/x', tables => '{t}')"],
  ["22023", "start_apply('/backups/x', sections => '{pre-data}', truncate => true)"],
  ["42501", "start_apply('/elsewhere/x')", "plain"],
  ["58P01", "start_apply('/backups/none')"],
  ["42704", "snapshot_progress('none')"],
  ["42704", "wait_snapshot('none')"],
  ["22023", "wait_snapshot(null)"],
  ["42704", "cancel_snapshot('none')"],
  ["22023", "cancel_snapshot(null)"],
  ["42704", "drop_snapshot('none')"],
  ["22023", "drop_snapshot(null)"],
  ["22004", "verify_snapshot(null)"],
  ["22023", "verify_snapshot('relative')"],
  ["58P01", "verify_snapshot('/backups/none')"],
  ["42501", "verify_snapshot('/elsewhere/x')", "plain"],
  ["22023", `analyze_overlap('${peer}', '{t}')`],
  ["22023", `analyze_overlap('${peer}', '{public.t,public.t}')`],
  ["22023", `analyze_overlap('${peer}', '{public.t}', '[]')`],
  ["42809", `analyze_overlap('${peer}', '{pg_catalog.pg_class}')`],
  ["42704", "analyze_overlap('none', '{public.t}')"],
  ["08001", `analyze_overlap('${peer}', '{public.t}')`],
  ["22023", `start_overlap('${peer}', '{t}')`],
  ["42809", `start_overlap('${peer}', '{steep_repl.nodes}')`],
  ["42704", "start_overlap('none', null)"],
  ["22023", `overlap_rows('${peer}', 'public.t', 'other')`],
  ["22023", `overlap_rows('${peer}', 'public.t', max_rows => 0)`],
  ["42704", "overlap_rows('none', 'public.t')"],
  ["42704", `overlap_rows('${peer}', 'public.t', overlap_id => 'none')`],
  ["22023", `start_merge('${peer}', '{public.t}', strategy => 'best')`],
  ["22023", `start_merge('${peer}', '{public.t}', last_modified_column => 'id')`],
  ["42704", "start_merge('none', '{public.t}')"],
  ["42809", `start_merge('${peer}', '{information_schema.tables}')`],
  ["42704", "merge_progress('none')"],
  ["42704", "wait_merge('none')"],
  ["22023", "wait_merge(null)"],
  ["42704", "cancel_merge('none')"],
  ["22023", "resolve_conflict(null, 'local')"],
  ["42704", "resolve_conflict(1, 'local')"],
  ["42704", "undo_merge('none')"],
  ["22023", "undo_merge(null)"],
  ["22023", "compare_fingerprints('here', 'here')"],
  ["42704", "compare_fingerprints('none', 'here')"],
  ["22023", "schema_diff('here', 'here', 't')"],
  ["42704", "schema_diff('here', 'none', 'public.t')"],
  ["22023", "capture_fingerprints('')"],
  ["42704", "capture_fingerprints('none')"],
  ["22023", "list_operations('lost')"],
  ["22023", "cancel_operation(null)"],
  ["42704", "cancel_operation(1)"],
  ["22023", "retry_operation(null)"],
  ["42704", "retry_operation(1)"],
  ["22023", "wait_operation(1, -1)"],
  ["42704", "wait_operation(1)"],
  ["22023", "prune_operations(null)"],
  ["22023", "prune_operations('-1 day')"],
];

describe("errors are as documented", () => {
  const withUsers = cases.map(([code, call, user = "postgres"]) => [code, call, user] as const);
  test.each(withUsers)("%s %s", async (sqlstate, call, user) => {
    const here = call.replaceAll("/backups", server.snapshotDir);
    const failed = server.query(`select * from steep_repl.${here}`, [], { user });
    await expect(failed).rejects.toMatchObject({ code: sqlstate });
    const name = call.slice(0, call.indexOf("("));
    const codes = documented.get(name) ?? [];
    expect([...codes, ...common], `@error of ${name}`).toContain(sqlstate);
  });
});
