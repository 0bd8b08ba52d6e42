import { SteepError } from "../db/steep-error.ts";
import type { MergeAction, MergeDone } from "../shared/action.ts";
import { mergeWarnings, type PeerFacts, refuseMerge } from "./merge-checks.ts";
import { type MergeParams, restoring, type Tolerance } from "./merge-params.ts";

/** What the actions leave; counts of tables and steps go from 1. */
export interface MergeFacts extends PeerFacts {
  /** by `compare` */
  readonly compared: number;
  /** by `check_unique`: rows that a unique index would refuse; some of them, and how many the merge would make room for */
  readonly colliding: number;
  readonly collisions: { readonly examples: string; readonly swapping: number } | null;
  /** by `check_unique` and `look_again`: how many there are */
  readonly steps: number;
  /** by `write` */
  readonly written: number;
  /** rows that changed since they were compared */
  readonly changed: number;
  readonly rounds: number;
  /** a backlog is to be discarded */
  readonly discards: boolean;
}

/** So often rows that changed since they were compared are compared again. */
const maxRounds = 8;

function compareNext(compared: number, facts: MergeFacts): MergeAction {
  return compared < facts.tables
    ? { kind: "compare", phase: "comparing", no: compared + 1 }
    : { kind: "check_unique", phase: "comparing" };
}

function afterOpening(tolerance: Tolerance, facts: MergeFacts): MergeAction {
  refuseMerge(tolerance, facts);
  const warnings = mergeWarnings(tolerance, facts);
  return {
    kind: "begin_merge",
    phase: "planning",
    discards: facts.backlog !== null ? "yes" : "no",
    replicates: facts.replicates ? "yes" : "no",
    ...(warnings.length > 0 ? { warnings } : {}),
  };
}

function refuseCollisions(facts: MergeFacts): void {
  if (facts.colliding > 0) {
    const swapping = facts.collisions?.swapping ?? 0;
    const why =
      swapping === 0
        ? ""
        : `. ${swapping} of these are kept for rows that the merge updates, too: PostgreSQL checks a constraint that is not DEFERRABLE row by row`;
    throw new SteepError({
      sqlstate: "23505",
      message: `${facts.colliding} rows to be merged have values that a unique index or an exclusion constraint keeps for rows of other keys${why}`,
      ...(facts.collisions === null ? {} : { detail: facts.collisions.examples }),
      hint:
        swapping < facts.colliding
          ? "Change or delete one row of each pair, then start the merge again."
          : "Make the constraint DEFERRABLE on both sides, or give one row of each pair another value, then start the merge again.",
    });
  }
}

function writeNext(written: number, facts: MergeFacts, params: MergeParams): MergeAction {
  if (written < facts.steps) {
    return { kind: "write", phase: "merging", no: written + 1 };
  }
  // Of rows that changed after a backlog was discarded, replication brings the change when it resumes.
  if (facts.changed > 0 && facts.rounds < maxRounds && !params.dry_run && !facts.discards) {
    return { kind: "look_again", phase: "merging" };
  }
  return { kind: "note_left", phase: "finalizing" };
}

/** What comes after each action of a merge. */
export function nextMergeAction(
  done: MergeDone,
  params: MergeParams,
  facts: MergeFacts,
): MergeAction {
  switch (done) {
    case null:
      return { kind: "open_peer", phase: "planning" };
    case "open_peer":
      return afterOpening(params, facts);
    case "begin_merge":
      return compareNext(0, facts);
    case "compare":
      return compareNext(facts.compared, facts);
    case "check_unique":
      refuseCollisions(facts);
      return facts.discards && !params.dry_run
        ? { kind: "discard_backlog", phase: "comparing" }
        : writeNext(0, facts, params);
    case "discard_backlog":
      return writeNext(0, facts, params);
    case "write":
      return writeNext(facts.written, facts, params);
    case "look_again":
      return writeNext(0, facts, params);
    case "note_left":
      return { kind: "move_sequences", phase: "finalizing" };
    case "move_sequences":
      return { kind: "check_foreign_keys", phase: "finalizing" };
    case "check_foreign_keys":
      return { kind: "close_peer", phase: "finalizing" };
    case "close_peer":
      return { kind: "complete", phase: "complete" };
    default:
      throw new Error(`no step of a merge: ${done}`);
  }
}

/** The same for an undo, whose rows are those of the audit log. */
export function nextUndoAction(done: MergeDone, facts: MergeFacts): MergeAction {
  const writeNextOf = (written: number): MergeAction => {
    if (written < facts.steps) {
      return { kind: "write", phase: "merging", no: written + 1 };
    }
    return facts.changed > 0 && facts.rounds < maxRounds
      ? { kind: "look_again", phase: "merging" }
      : { kind: "note_left", phase: "finalizing" };
  };
  switch (done) {
    case null:
      return { kind: "open_peer", phase: "planning" };
    case "open_peer":
      return afterOpening(restoring, facts);
    case "begin_merge":
      return { kind: "read_audit", phase: "planning" };
    case "read_audit":
      return writeNextOf(0);
    case "write":
      return writeNextOf(facts.written);
    case "look_again":
      return writeNextOf(0);
    case "note_left":
      return { kind: "check_foreign_keys", phase: "finalizing" };
    case "check_foreign_keys":
      return { kind: "close_peer", phase: "finalizing" };
    case "close_peer":
      return { kind: "complete", phase: "complete" };
    default:
      throw new Error(`no step of an undo: ${done}`);
  }
}
