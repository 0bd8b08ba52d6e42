import { type ApplyFacts, nextApplyAction } from "../apply/apply.ts";
import { applyParams } from "../apply/apply-params.ts";
import { type Json, queryOne } from "../db/sql.ts";
import { type FetchFacts, nextFetchAction } from "../fetch/fetch.ts";
import { fetchParams } from "../fetch/fetch-params.ts";
import { type MergeFacts, nextMergeAction, nextUndoAction } from "../merge/merge.ts";
import { checkUndoParams, queuedMergeParams } from "../merge/merge-params.ts";
import { nextOverlapAction } from "../overlap/overlap.ts";
import { nextPairAction } from "../pair/pair.ts";
import type { PairFacts } from "../pair/pair-facts.ts";
import { pairParams } from "../pair/pair-params.ts";
import type {
  ApplyAction,
  ApplyDone,
  FetchAction,
  FetchDone,
  MergeAction,
  MergeDone,
  OverlapAction,
  OverlapDone,
  PairAction,
  PairDone,
  SnapshotAction,
  SnapshotDone,
} from "../shared/action.ts";
import { checkOverlapParams, checkPeerParams } from "../shared/peer-params.ts";
import { nextSnapshotAction, type SnapshotFacts } from "../snapshot/snapshot.ts";
import { type SnapshotParams, snapshotParams } from "../snapshot/snapshot-params.ts";
import { lockFactsQuery, startFactsQuery } from "../snapshot/snapshot-sql.ts";

/** What a coordinator asks with. */
interface Request {
  readonly operation: string;
  readonly done: string | null;
  readonly params: { readonly [name: string]: Json };
  /** what the last action left, in C */
  readonly facts: { readonly [name: string]: Json };
}

/** Facts that SQL knows, where the next decision needs them. */
function gatherSnapshotFacts(done: SnapshotDone, params: SnapshotParams): SnapshotFacts {
  switch (done) {
    case null:
      return queryOne<SnapshotFacts>(startFactsQuery, params);
    case "plan":
      return queryOne<SnapshotFacts>(lockFactsQuery, params);
    default:
      return {};
  }
}

function nextOfSnapshot(request: Request): SnapshotAction {
  const done = request.done as SnapshotDone;
  const params = snapshotParams(request.params);
  return nextSnapshotAction(
    { done, params },
    { ...gatherSnapshotFacts(done, params), ...request.facts },
  );
}

function nextOfApply(request: Request): ApplyAction {
  const done = request.done as ApplyDone;
  const params = applyParams(request.params);
  return nextApplyAction({ done, params }, request.facts as unknown as ApplyFacts);
}

/** Called by coordinators only: decide what a job does next. */
export function nextAction(
  request: Request,
): SnapshotAction | ApplyAction | OverlapAction | MergeAction | FetchAction | PairAction {
  switch (request.operation) {
    case "snapshot_generate":
      return nextOfSnapshot(request);
    case "snapshot_apply":
      return nextOfApply(request);
    case "snapshot_fetch":
      checkPeerParams(request.params);
      return nextFetchAction(
        { done: request.done as FetchDone, params: fetchParams(request.params) },
        request.facts as FetchFacts,
      );
    case "overlap":
      checkOverlapParams(request.params);
      return nextOverlapAction(request.done as OverlapDone, request.facts);
    case "bidirectional_merge":
      checkPeerParams(request.params);
      return nextMergeAction(
        request.done as MergeDone,
        queuedMergeParams(request.params),
        request.facts as unknown as MergeFacts,
      );
    case "merge_undo":
      checkPeerParams(request.params);
      checkUndoParams(request.params);
      return nextUndoAction(request.done as MergeDone, request.facts as unknown as MergeFacts);
    case "pair":
      checkPeerParams(request.params);
      return nextPairAction(
        request.done as PairDone,
        pairParams(request.params),
        request.facts as unknown as PairFacts,
      );
    default:
      throw new Error(`no planner for operation ${request.operation}`);
  }
}
