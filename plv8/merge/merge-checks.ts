import { refuseAny } from "../shared/refusal.ts";
import type { Tolerance } from "./merge-params.ts";

/** What `open_peer` finds out, from `steep_repl._merge_facts`: lists are joined, null for none. */
export interface PeerFacts {
  readonly tables: number;
  /** tables that the job goes on without, and why */
  readonly skipped: string | null;
  /** tables that are defined in another way at the peer */
  readonly differing: string | null;
  /** tables with rules for writing that would be applied */
  readonly rules: string | null;
  /** tables where row security would hide rows */
  readonly row_security: string | null;
  /** tables and the rights that are missing */
  readonly not_writable: string | null;
  /** sequences of those tables that may not be set */
  readonly not_settable: string | null;
  /** published tables whose rows cannot be updated or deleted */
  readonly unidentified: string | null;
  /** tables whose foreign keys refer to each other in a circle */
  readonly circle: string | null;
  /** unique indexes and exclusion constraints that are not checked before rows are written, since that would run code of others */
  readonly unchecked: string | null;
  /** those of single partitions that are not checked, since the other side has other ones */
  readonly unmatched: string | null;
  /** unique indexes whose values are compared by their text, where the type's equality may say more */
  readonly checked_as_text: string | null;
  /** partitions, and columns whose values have names in them, that are not looked for at the other side before rows are written */
  readonly untested: string | null;
  /** sides ("here", "at the peer") that are standbys, cannot skip triggers, and so on */
  readonly read_only: string | null;
  /** sides whose sessions may only read, and that would be written to */
  readonly protected: string | null;
  readonly fires_triggers: string | null;
  /** tables whose own triggers fire, and on which side */
  readonly acting: string | null;
  readonly without_origin: string | null;
  readonly without_stamps: string | null;
  /** one side replicates to the other */
  readonly replicates: boolean;
  readonly backlog: string | null;
  /** of the subscriptions that have it: those that nothing will come to any more, and what has the others go on */
  readonly lost: string | null;
  readonly resuming: string | null;
  /** tables that the subscriptions with a backlog replicate, and that the merge leaves out since it was told to */
  readonly given_up: string | null;
  /** rights that are missing to discard the backlog */
  readonly lacks_to_discard: string | null;
  /** subscriptions that would be to the other side, if it had their slot */
  readonly without_slot: string | null;
  /** changes that subscriptions between the two fail on, and the statements that leave them out */
  readonly apply_errors: string | null;
  readonly skipping: string | null;
  /** subscriptions by which merged rows would come back to where they came from */
  readonly echoing: string | null;
  /** slots with a backlog that a session uses, which therefore cannot be moved on */
  readonly busy_slots: string | null;
  /** slots whose backlog is discarded, if one is */
  readonly waiting_slots: string | null;
  /** slots for others than the two sides, which would miss what is merged */
  readonly other_slots: string | null;
  /** how far the clocks are apart, in ms */
  readonly clock_difference: number;
  /** the requester, as SQL writes it */
  readonly role: string;
  /** of an undo: the one that has taken the same merge back before */
  readonly taken_back: string | null;
}

/** Clocks that are further apart say little about which change was the last one. */
const maxClockDifference = 1000;

/** Everything that stands in a merge's way, before it reads or writes any row. */
export function refuseMerge(tolerance: Tolerance, facts: PeerFacts): void {
  refuseAny([
    {
      names: facts.read_only,
      sqlstate: "25006",
      message: "a merge writes to both sides, and one is a standby",
      hint: "Merge with the primary.",
    },
    {
      names: facts.protected,
      sqlstate: "25006",
      message: "a merge writes to a side whose transactions are read-only",
      hint: "There, ALTER ROLE ... SET default_transaction_read_only = off for the role that merges.",
    },
    {
      names: facts.differing,
      sqlstate: "55000",
      message: "tables to be merged are defined in different ways here and at the peer",
      hint: "See steep_repl.schema_diff() for statements that make them equal.",
    },
    {
      names: facts.row_security,
      sqlstate: "0A000",
      message: "row security applies to tables that are to be merged",
      hint: `Merge as their owner, or as a role with BYPASSRLS, instead of ${facts.role}.`,
    },
    {
      names: facts.rules,
      sqlstate: "0A000",
      message: "tables to be merged have rules, by which something else would be written",
      hint: "Use triggers instead of rules, or disable them for the merge: ALTER TABLE ... DISABLE RULE. For a role that may set session_replication_role they are not applied, unless they are ENABLE ALWAYS.",
    },
    {
      names: facts.not_writable,
      sqlstate: "42501",
      message: "permission denied to merge tables",
      hint: "GRANT these rights ON each table TO the role that merges; UPDATE is needed to lock rows, too.",
    },
    {
      names: facts.not_settable,
      sqlstate: "42501",
      message: "permission denied for sequences of tables that are to be merged",
      hint: "GRANT SELECT, UPDATE ON each SEQUENCE TO the role that merges, so that it can move them past what was merged.",
    },
    {
      names: facts.unidentified,
      sqlstate: "55000",
      message:
        "publications have tables without a replica identity, so PostgreSQL refuses to update their rows or delete them",
      hint: "ALTER TABLE ... REPLICA IDENTITY USING INDEX a unique index over NOT NULL columns, or FULL, on both sides; or leave the tables out with exclude_tables.",
    },
    {
      names: facts.fires_triggers === null ? null : facts.circle,
      sqlstate: "42501",
      message:
        "foreign keys refer to each other in a circle, so no order of merging satisfies them",
      hint: "GRANT SET ON PARAMETER session_replication_role TO the role that merges: then they are checked when all is merged.",
    },
    {
      names: facts.replicates ? facts.without_origin : null,
      sqlstate: "42501",
      message:
        "the two sides replicate to each other, and merged rows could not be told from others",
      hint: "GRANT EXECUTE ON FUNCTION pg_replication_origin_create, pg_replication_origin_drop, pg_replication_origin_session_setup, pg_replication_origin_session_reset TO the role that merges, on that side.",
    },
    {
      names:
        tolerance.strategy === "last-modified" && tolerance.last_modified_column === null
          ? facts.without_stamps
          : null,
      sqlstate: "55000",
      message: "strategy last-modified needs track_commit_timestamp on both sides",
      hint: "Set track_commit_timestamp = on and restart that server, or name a last_modified_column.",
    },
    {
      names: tolerance.other_subscribers === "ignore" ? null : facts.other_slots,
      sqlstate: "55000",
      message: "other subscribers would miss the rows that are merged",
      hint: "Merge with each of them as well, and pass other_subscribers => 'ignore'.",
    },
    {
      names: facts.echoing,
      sqlstate: "55000",
      message:
        "subscriptions with origin = any would get merged rows back, and stop at the first that is there already",
      hint: "ALTER SUBSCRIPTION ... SET (origin = none) on that side; before PostgreSQL 16, drop them for the merge.",
    },
    {
      names: tolerance.backlog === "refuse" ? backlogOf(facts) : null,
      sqlstate: "55000",
      message: "changes wait to be replicated between the two sides",
      hint: backlogHint(facts),
    },
    {
      names: tolerance.backlog === "discard" ? facts.lacks_to_discard : null,
      sqlstate: "42501",
      message: "permission denied to discard what waits to be replicated",
      hint: "On that side, ALTER ROLE ... REPLICATION for the role that merges, and GRANT SELECT, UPDATE on those tables, which the merge leaves out and compares all the same; or name them in exclude_tables.",
    },
    {
      names: facts.backlog === null ? null : facts.busy_slots,
      sqlstate: "55006",
      message: "changes that wait to be replicated cannot be discarded while they are being sent",
      hint: "Disable those subscriptions first: ALTER SUBSCRIPTION ... DISABLE.",
    },
  ]);
}

/** What waits, and why it does not arrive, if that is known. */
function backlogOf(facts: PeerFacts): string | null {
  return facts.backlog === null || facts.apply_errors === null
    ? facts.backlog
    : `${facts.backlog}; ${facts.apply_errors}`;
}

function backlogHint(facts: PeerFacts): string {
  const discard =
    "backlog => 'discard' throws them away instead, which merging all of those tables makes up for.";
  if (facts.lost !== null) {
    return `Nothing of it comes any more to ${facts.lost}. Disable the subscriptions, and merge: ${discard} Then make what is lost anew, with copy_data = false and origin = none.`;
  }
  if (facts.skipping !== null) {
    return `Leave out the transactions that fail (${facts.skipping}), wait until replication has caught up, then merge the tables that they changed, while both sides replicate. Or ${discard}`;
  }
  return facts.resuming === null
    ? `Let replication catch up first, or a merge would be undone by them. ${discard}`
    : `Have replication go on (${facts.resuming}), and let it catch up, or a merge would be undone by them. Or ${discard}`;
}

/** What the merge goes on without. */
export function mergeWarnings(tolerance: Tolerance, facts: PeerFacts): readonly string[] {
  const warnings: string[] = [];
  if (facts.skipped !== null) {
    warnings.push(`tables were left as they are: ${facts.skipped}`);
  }
  if (facts.fires_triggers !== null) {
    warnings.push(
      `triggers fire and foreign keys are checked with each row ${facts.fires_triggers} (GRANT SET ON PARAMETER session_replication_role TO the role that merges avoids it)`,
    );
  }
  if (facts.acting !== null) {
    warnings.push(
      `triggers of these tables fire, and what they write to other rows is neither compared nor taken back by an undo: ${facts.acting} (compare again afterwards)`,
    );
  }
  if (tolerance.backlog === "discard" && facts.waiting_slots !== null) {
    warnings.push(
      `what waits in these replication slots is thrown away: ${facts.waiting_slots} (that those here are for the peer is what the peer says)`,
    );
  }
  if (tolerance.backlog === "discard" && facts.backlog !== null && facts.given_up !== null) {
    warnings.push(
      `changes of these tables that wait to be replicated are thrown away, too, though the merge leaves the tables as they are on each side: ${facts.given_up}`,
    );
  }
  if (facts.without_slot !== null) {
    warnings.push(
      `subscriptions to publications of the other side have no slot there, so nothing will come by them unless they are to a third node: ${facts.without_slot}`,
    );
  }
  if (facts.unchecked !== null) {
    warnings.push(
      `unique indexes or exclusion constraints were not checked before rows are written, since they may run code of roles that are neither superusers nor the one that merges: ${facts.unchecked}`,
    );
  }
  if (facts.unmatched !== null) {
    warnings.push(
      `unique indexes or exclusion constraints of single partitions were not checked before rows are written, since the other side does not have them for the same rows: ${facts.unmatched}`,
    );
  }
  if (facts.checked_as_text !== null) {
    warnings.push(
      `unique indexes were checked by the text of their values only, so rows may still be left because of them: ${facts.checked_as_text}`,
    );
  }
  if (facts.untested !== null) {
    warnings.push(
      `whether the other side has what rows need there was not found out before they are written, so rows may still be left because of it: ${facts.untested}`,
    );
  }
  if (facts.taken_back !== null) {
    warnings.push(
      `the merge was taken back already, by ${facts.taken_back}; rows that are as they were before it were left so`,
    );
  }
  if (tolerance.strategy === "last-modified" && facts.clock_difference > maxClockDifference) {
    warnings.push(
      `the clocks are ${(facts.clock_difference / 1000).toFixed(1)} s apart, so which change was the last one is not certain`,
    );
  }
  return warnings;
}
