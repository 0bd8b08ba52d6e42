/*
 * The hand-written files of sql/ in the order in which the extension's script has them: what a view, a policy or a
 * body in SQL's own syntax names must be there before it. What others name at run time only may stand anywhere.
 */

/** How a script begins, and ends: that of CREATE EXTENSION, and that of an update from the predecessor. */
export const scriptEnds = {
  install: { before: ["base/preamble.sql", "base/schema.sql"], after: [] },
  "from-0.1.0": { before: ["from-0.1.0/before.sql"], after: ["from-0.1.0/after.sql"] },
} as const;

/** Before the bundle and the functions that are made from TypeScript. */
export const sqlBefore: readonly string[] = [
  "base/internals.sql",
  "tables/tables.sql",
  "tables/guards.sql",
  "tables/merge.sql",
  "tables/pairs.sql",
  "tables/rights.sql",
  "base/engine.sql",
];

/** After them. */
export const sqlAfter: readonly string[] = [
  "nodes/nodes.sql",
  "jobs/operations.sql",
  "jobs/kind.sql",
  "jobs/rows.sql",
  "jobs/dispatch.sql",
  "jobs/over.sql",
  "nodes/peer-labels.sql",
  "snapshot/snapshots.sql",
  "nodes/peers.sql",
  "fetch/peer.sql",
  "fetch/fetch.sql",
  "nodes/lockers.sql",
  "nodes/origins.sql",
  "nodes/apply-errors.sql",
  "overlap/facts.sql",
  "schema/sides.sql",
  "schema/defaults.sql",
  "schema/read-again.sql",
  "schema/objects.sql",
  "schema/ties.sql",
  "schema/wanted.sql",
  "schema/fingerprints.sql",
  "overlap/seen.sql",
  "overlap/differences.sql",
  "overlap/scope.sql",
  "overlap/plans.sql",
  "overlap/settle.sql",
  "overlap/overlap.sql",
  "overlap/job.sql",
  "merge/unique-indexes.sql",
  "merge/places.sql",
  "merge/sequences.sql",
  "merge/backlog.sql",
  "merge/facts.sql",
  "merge/origins.sql",
  "merge/plan.sql",
  "merge/discard.sql",
  "merge/choose.sql",
  "merge/rows.sql",
  "merge/turns.sql",
  "merge/still-differing.sql",
  "merge/haste.sql",
  "merge/write.sql",
  "merge/batch.sql",
  "merge/peer-ends.sql",
  "merge/finish.sql",
  "merge/foreign-keys.sql",
  "merge/missing.sql",
  "merge/referred.sql",
  "merge/delete-order.sql",
  "merge/collisions.sql",
  "merge/partners.sql",
  "merge/deferred.sql",
  "merge/undo.sql",
  "merge/merge.sql",
  "merge/resolve.sql",
  "merge/job.sql",
  "merge/keep.sql",
  "pair/names.sql",
  "pair/side.sql",
  "pair/tables.sql",
  "pair/sequences.sql",
  "pair/back.sql",
  "pair/look.sql",
  "pair/job.sql",
  "pair/drop.sql",
  "pair/pair.sql",
  "pair/plan.sql",
  "watch/replication.sql",
  "snapshot/replicated.sql",
];

/** What \df+ and docs/functions.md say of the functions that users call, with the titles that the page has. */
export const commentFiles: { readonly [file: string]: string } = {
  "comments/nodes.sql": "Nodes and health",
  "comments/snapshots.sql": "Snapshots",
  "comments/overlap.sql": "Comparing rows",
  "comments/merge.sql": "Merging",
  "comments/schema.sql": "Comparing schemas",
  "comments/pair.sql": "Pairs",
  "comments/jobs.sql": "Jobs",
};

/** The end of the script. */
export const sqlEnd: readonly string[] = ["comments/columns.sql", "base/end.sql"];
