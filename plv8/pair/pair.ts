import { SteepError } from "../db/steep-error.ts";
import type { PairAction, PairDone } from "../shared/action.ts";
import { quoteLiteral } from "../shared/sql-text.ts";
import { comparing, connected, merging, sharing } from "./equal-steps.ts";
import { fetching, loading, loadingSchema, snapshotting } from "./fill-steps.ts";
import type { PairFacts } from "./pair-facts.ts";
import type { PairParams } from "./pair-params.ts";
import { preflight } from "./preflight.ts";
import { pairTables } from "./preflight-tables.ts";
import { type Step, statement } from "./step.ts";
import {
  enabling,
  publishing,
  resetting,
  slotting,
  subscribing,
  tidying,
} from "./subscribe-steps.ts";

/*
 * A pair is set up by looking: each step says what is still to be done, by what there is on both sides, or that nothing is. So a job
 * that is interrupted anywhere goes on, and one that begins anew finds what is there.
 */

/** An empty peer is filled from a snapshot. Writes here go on; what they write waits in the slot that the snapshot began with. */
const filled: readonly Step[] = [
  resetting,
  publishing("local"),
  snapshotting,
  fetching,
  loadingSchema,
  subscribing("peer", {
    ...{ enabled: false, step: "subscription at the peer" },
    phase: "loading",
  }),
  loading,
  publishing("peer", "subscribing"),
  slotting("peer"),
  subscribing("local", { enabled: true, step: "subscription here" }),
  // the peer has all that the snapshot had
  enabling("peer"),
  enabling("local"),
  sharing,
  comparing,
  connected,
  tidying,
];

/** Both keep their data, and replicate from now on; what differs is merged while they do. */
const merged: readonly Step[] = [
  resetting,
  publishing("local"),
  publishing("peer"),
  // before the first change is sent, or both sides would send new rows with the same keys
  sharing,
  slotting("local"),
  slotting("peer"),
  subscribing("local", { enabled: true, step: "subscription here" }),
  subscribing("peer", { enabled: true, step: "subscription at the peer" }),
  enabling("local"),
  enabling("peer"),
  merging,
  comparing,
  connected,
];

/** The same where nothing should differ. */
const kept: readonly Step[] = merged.filter((step) => step !== merging);

const steps = { refuse: filled, merge: merged, keep: kept } as const;

/** How many problems an error names. */
const maxProblems = 5;

/** What was found is remembered: it is looked at once, before anything is made. */
function planning(facts: PairFacts, params: PairParams): PairAction | null {
  const { closely } = facts;
  if (closely === undefined) {
    return null;
  }
  const rows = preflight({ params, closely });
  const problems = rows.filter((row) => row.status === "problem");
  if (problems.length > 0 || closely.there === null) {
    const more = problems.length - maxProblems;
    throw new SteepError({
      sqlstate: "55000",
      message: `${problems.length} checks say that there cannot be a pair yet`,
      detail:
        problems
          .slice(0, maxProblems)
          .map((row) => `${row.side}: ${row.check_name}: ${row.detail}.`)
          .join(" ") + (more > 0 ? ` And ${more} more.` : ""),
      hint: "preflight() lists them with what to do about each. Then retry_operation() goes on.",
    });
  }
  const tables = pairTables({ ...closely, there: closely.there }, params);
  const plan = {
    local_node: closely.back.node_id,
    // tables that are there already are empty
    has_schema:
      params.existing === "refuse" &&
      closely.there.tables.some(({ name }) => tables.includes(name)),
    tables,
  };
  const warnings = rows
    .filter((row) => row.status === "warning")
    .map((row) => `${row.side}: ${row.check_name}: ${row.detail}`);
  return {
    ...statement(
      "planning",
      "plan",
      "local",
      `select ${quoteLiteral(JSON.stringify(plan))}`,
      "plan",
    ),
    ...(warnings.length > 0 ? { warnings } : {}),
  };
}

/** What comes next, by what there is. */
export function nextPairAction(done: PairDone, params: PairParams, facts: PairFacts): PairAction {
  if (done === null) {
    return { kind: "open_peer", phase: "planning" };
  }
  if (done === "close_peer") {
    return { kind: "complete", phase: "complete" };
  }
  const planned = planning(facts, params);
  if (planned !== null) {
    return planned;
  }
  const isFresh = done === "open_peer";
  for (const step of steps[params.existing]) {
    const action = step({ facts, params, done, isFresh });
    if (action !== null) {
      return action;
    }
  }
  return { kind: "close_peer", phase: "finalizing" };
}
