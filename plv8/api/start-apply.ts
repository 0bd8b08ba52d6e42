import { queryOne } from "../db/sql.ts";
import { applyParams } from "../jobs/apply-params.ts";
import type { PublicFunction } from "./public-function.ts";

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
  ],
  returns: { kind: "row", table: "snapshots", key: "snapshot_id" },
  volatility: "volatile",
  comment:
    "queues the loading of a snapshot from a directory on the server into this database; returns at once",
  run(args) {
    const params = applyParams(args);
    const path = queryOne<{ path: string }>(
      `select steep_repl._check_input_path($1 ->> 'path') as path`,
      { path: params.input_path },
    ).path;
    return queryOne<{ snapshot_id: string }>(
      `insert into steep_repl.work_queue (operation, params)
       values ('snapshot_apply', $1) returning snapshot_id`,
      { ...params, input_path: path },
    );
  },
};
