import { SteepError } from "../db/steep-error.ts";
import type { PairAction, PairDone, PairKeeps, PairPhase, PairSide } from "../shared/action.ts";
import { quoteLiteral } from "../shared/sql-text.ts";
import type { JobFacts, PairFacts } from "./pair-facts.ts";
import type { PairParams } from "./pair-params.ts";

/** What a step goes by. */
export interface StepInput {
  readonly facts: PairFacts;
  readonly params: PairParams;
  /** the last action's kind */
  readonly done: PairDone;
  /** the job has just begun, or begun again: what failed before is tried anew */
  readonly isFresh: boolean;
}

/** What is to be done next of a step; null once nothing is. */
export type Step = (input: StepInput) => PairAction | null;

/** A statement on one side. `$1` is the connection to the peer, for one that runs here. */
export function statement(
  phase: PairPhase,
  step: string,
  side: PairSide,
  sql: string,
  keeps?: PairKeeps,
): PairAction {
  return { kind: "statement", phase, step, side, sql, ...(keeps === undefined ? {} : { keeps }) };
}

/** Waits until a query on one side answers an empty text; what it answers else is shown. */
export function wait(phase: PairPhase, side: PairSide, sql: string): PairAction {
  return { kind: "wait", phase, side, sql };
}

/** Names as an argument of type `text[]`. */
export function namesArgument(names: readonly string[] | null): string {
  return names === null ? "null" : `array[${names.map(quoteLiteral).join(", ")}]::text[]`;
}

/** What a job of the pair has come to; null when it is complete. */
export function followJob(
  phase: PairPhase,
  side: PairSide,
  what: string,
  job: Omit<JobFacts, "operation" | "sections">,
  isFresh: boolean,
): PairAction | null {
  switch (job.status) {
    case "complete":
      return null;
    case "pending":
    case "running":
      return wait(phase, side, `select steep_repl._pair_waits_for(${quoteLiteral(job.id)})`);
    case "failed":
    case "cancelled":
      if (isFresh) {
        return statement(
          phase,
          `${what} again`,
          side,
          `select (steep_repl.retry_operation(${job.operation_id})).status`,
        );
      }
      throw new SteepError({
        sqlstate: job.sqlstate ?? "57014",
        message: `the ${what} ${job.status === "failed" ? "failed" : "was cancelled"}`,
        detail: `${job.id}${side === "peer" ? " at the peer" : ""}: ${job.error ?? "no error"}`,
        hint: `${job.hint ?? ""} Then retry_operation() goes on with the pair.`.trim(),
      });
  }
}

/** An object has the name of one of the pair, and is another. */
export function refuseOther(what: string, name: string, side: PairSide, why: string): never {
  throw new SteepError({
    sqlstate: "42710",
    message: `${what} "${name}" exists ${side === "local" ? "here" : "at the peer"}, and is not as the pair needs it`,
    detail: why,
    hint: "Drop it, or register the nodes under other names; then retry_operation() goes on.",
  });
}
