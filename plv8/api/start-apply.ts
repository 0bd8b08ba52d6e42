import { type ApplyParams, applyParams } from "../apply/apply-params.ts";
import { query, queryOne } from "../db/sql.ts";
import { invalidArgument, SteepError } from "../db/steep-error.ts";
import type { PublicFunction } from "./public-function.ts";

/** Refuse names that are none of a table: the snapshot itself is not read before the job runs. */
function checkTables({ tables }: ApplyParams): void {
  const [unqualified] = query<{ name: string }>(
    `select t.name from jsonb_array_elements_text(nullif($1 -> 'tables', 'null')) t(name)
     where cardinality(parse_ident(t.name)) <> 2 limit 1`,
    { tables },
  );
  if (unqualified) {
    throw invalidArgument(
      `table "${unqualified.name}" is not of the form schema.table`,
      "Quote each name where SQL would quote it.",
    );
  }
}

/** Refuse tables that the snapshot has not: only this side of the queue can say so to whoever asks. */
function checkContents(path: string, { tables }: ApplyParams): void {
  const { missing } = queryOne<{ missing: string | null }>(
    `select steep_repl._missing_tables(
       $1 ->> 'path', array(select jsonb_array_elements_text(nullif($1 -> 'tables', 'null')))) as missing`,
    { path, tables },
  );
  if (missing !== null) {
    throw new SteepError({
      sqlstate: "42P01",
      message: `the snapshot does not contain ${missing}`,
      hint: "See which tables it has: pg_restore --list, or the manifest.",
    });
  }
}

/** Queue the loading of a snapshot into this database. */
export const startApply: PublicFunction = {
  name: "start_apply",
  args: [
    { name: "input_path", type: "text" },
    { name: "parallel", type: "int", default: "4" },
    { name: "verify", type: "boolean", default: "true" },
    { name: "sections", type: "text[]", default: "'{pre-data,data,post-data}'" },
    { name: "tables", type: "text[]", default: "null" },
    { name: "truncate", type: "boolean", default: "false" },
    { name: "no_owner", type: "boolean", default: "false" },
    { name: "no_privileges", type: "boolean", default: "false" },
    { name: "replicate", type: "boolean", default: "false" },
  ],
  returns: { kind: "row", table: "snapshots", key: "snapshot_id" },
  volatility: "volatile",
  run(args) {
    const params = applyParams(args);
    checkTables(params);
    const path = queryOne<{ path: string }>(
      `select steep_repl._check_input_path($1 ->> 'path') as path`,
      { path: params.input_path },
    ).path;
    checkContents(path, params);
    return queryOne<{ snapshot_id: string }>(
      `insert into steep_repl.work_queue (operation, params)
       values ('snapshot_apply', $1) returning snapshot_id`,
      { ...params, input_path: path },
    );
  },
};
