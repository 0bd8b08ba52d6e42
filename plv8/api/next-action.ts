import { type Json, queryOne } from "../db/sql.ts";
import type { Action, Done } from "../jobs/action.ts";
import { nextSnapshotAction, type SnapshotFacts } from "../jobs/snapshot.ts";
import { type SnapshotParams, snapshotParams } from "../jobs/snapshot-params.ts";
import { lockFactsQuery, startFactsQuery } from "../jobs/snapshot-sql.ts";

/** What a coordinator asks with. */
interface Request {
  readonly operation: string;
  readonly done: Done;
  readonly params: { readonly [name: string]: Json };
  /** what the last action left, in C */
  readonly facts: SnapshotFacts;
}

/** Facts that SQL knows, where the next decision needs them. */
function gatherFacts(done: Done, params: SnapshotParams): SnapshotFacts {
  switch (done) {
    case null:
      return queryOne<SnapshotFacts>(startFactsQuery, params);
    case "plan":
      return queryOne<SnapshotFacts>(lockFactsQuery, params);
    default:
      return {};
  }
}

/** Called by coordinators only: decide what a job does next. */
export function nextAction(request: Request): Action {
  if (request.operation !== "snapshot_generate") {
    throw new Error(`no planner for operation ${request.operation}`);
  }
  const params = snapshotParams(request.params);
  const facts = { ...gatherFacts(request.done, params), ...request.facts };
  return nextSnapshotAction({ done: request.done, params }, facts);
}
