import { SteepError } from "../db/steep-error.ts";
import type { PairAction } from "../shared/action.ts";
import { quoteLiteral } from "../shared/sql-text.ts";
import type { JobFacts, PairFacts } from "./pair-facts.ts";
import { isWholeDatabase } from "./pair-params.ts";
import { followJob, namesArgument, type Step, type StepInput, statement } from "./step.ts";

/*
 * The peer is filled from a snapshot that begins with the peer's slot. Once both subscriptions are there, it was. What was dropped
 * afterwards is not missed.
 */

const isFilled = ({ here }: PairFacts) => here.subscription !== null;

function latest(jobs: readonly JobFacts[], is: (job: JobFacts) => boolean): JobFacts | undefined {
  const found = jobs.filter(is);
  return found[found.length - 1];
}

/** A consistent copy of this side, from where its slot begins. */
export const snapshotting: Step = ({ facts, params, isFresh }: StepInput): PairAction | null => {
  if (isFilled(facts)) {
    return null;
  }
  const job = latest(facts.here.jobs, ({ operation }) => operation === "generate");
  if (job !== undefined) {
    return followJob("snapshot", "local", "snapshot", job, isFresh);
  }
  if (facts.path === null) {
    throw new SteepError({
      sqlstate: "55000",
      message: "where the snapshot is to be is not known",
      hint: "Set steep_repl.snapshot_directories, or start the pair again with output_path.",
    });
  }
  const tables = isWholeDatabase(params) ? null : facts.pair.tables;
  return statement(
    "snapshot",
    "snapshot",
    "local",
    `select s.snapshot_id from steep_repl.start_snapshot(${quoteLiteral(facts.path)}, parallel => ${params.parallel}, tables => ${namesArgument(tables)}, slot_name => ${quoteLiteral(facts.names.slot)}, publications => array[${quoteLiteral(facts.names.publication)}]) s`,
    "snapshot",
  );
};

/** Its files, at the peer. */
export const fetching: Step = ({ facts, isFresh }) => {
  if (isFilled(facts)) {
    return null;
  }
  const job = latest(facts.there.jobs, ({ operation }) => operation === "fetch");
  return job === undefined
    ? statement(
        "fetching",
        "fetch",
        "peer",
        `select s.snapshot_id from steep_repl.start_fetch(${quoteLiteral(facts.pair.local_node ?? "")}, ${quoteLiteral(facts.pair.snapshot_id ?? "")}, ${quoteLiteral(facts.peer_path)}) s`,
        "fetch",
      )
    : followJob("fetching", "peer", "fetch", job, isFresh);
};

function applying(step: string, sections: readonly string[]): Step {
  return ({ facts, params, isFresh }) => {
    if (isFilled(facts)) {
      return null;
    }
    const job = latest(
      facts.there.jobs,
      ({ operation, sections: found }) => operation === "apply" && found.join() === sections.join(),
    );
    return job === undefined
      ? statement(
          "loading",
          step,
          "peer",
          `select s.snapshot_id from steep_repl.start_apply(${quoteLiteral(facts.peer_path)}, parallel => ${params.parallel}, sections => ${namesArgument(sections)}) s`,
        )
      : followJob("loading", "peer", step, job, isFresh);
  };
}

/** The tables, so that the subscription can be there before their rows, which then carry its origin. */
export const loadingSchema: Step = (input) =>
  input.facts.pair.has_schema ? null : applying("apply of the schema", ["pre-data"])(input);

/** Their rows, and what is on them. */
export const loading: Step = (input) =>
  applying(
    "apply of the data",
    input.facts.pair.has_schema ? ["data"] : ["data", "post-data"],
  )(input);
