import { SteepError } from "../db/steep-error.ts";
import { quoteLiteral } from "../shared/sql-text.ts";
import type { NamedJob, PairFacts } from "./pair-facts.ts";
import { followJob, namesArgument, type Step, statement, wait } from "./step.ts";

const tablesOf = (facts: PairFacts) => namesArgument(facts.pair.tables ?? []);

const withId = (job: NamedJob, id: string | null) => ({ ...job, id: id ?? "" });

function failingSubscription(facts: PairFacts): string | null {
  const sides = [
    [facts.names.subscription, facts.here, "here"],
    [facts.peer_names.subscription, facts.there, "at the peer"],
  ] as const;
  for (const [name, { subscription }, where] of sides) {
    if (subscription !== null && subscription.error !== null) {
      return `Subscription "${name}" ${where} fails: ${subscription.error}.`;
    }
    if (subscription?.is_connected !== true) {
      return `Subscription "${name}" ${where} does not receive anything; the server log there says why.`;
    }
  }
  return null;
}

/** Both receive: before anything is compared, since waiting for who cannot come would be in vain, and when all is done. */
export const connected: Step = ({ facts, done, isFresh }) => {
  const why = failingSubscription(facts);
  if (why === null) {
    return null;
  }
  const isWaiting = facts.pair.step === "connecting" && !isFresh;
  if (!isWaiting) {
    return statement("comparing", "connecting", "local", "select 'done'");
  }
  if (done === "wait") {
    throw new SteepError({
      sqlstate: "55000",
      message: "the nodes do not replicate",
      detail: why,
      hint: "Mend that, then retry_operation() goes on with the pair.",
    });
  }
  return wait(
    "comparing",
    "local",
    `select steep_repl._pair_waits_for_subscriptions($1, ${quoteLiteral(JSON.stringify(facts.names))}, ${quoteLiteral(JSON.stringify(facts.peer_names))}, ${quoteLiteral(facts.pair.stepped_at ?? "")})`,
  );
};

/** Rows that differ are made equal, while both replicate. Of other subscribers, who do not get what is merged, a check has warned. */
export const merging: Step = (input) => {
  const { facts, params, isFresh } = input;
  if (facts.merge !== null) {
    return followJob(
      "merging",
      "local",
      "merge",
      withId(facts.merge, facts.pair.merge_id),
      isFresh,
    );
  }
  return (
    connected(input) ??
    statement(
      "merging",
      "merge",
      "local",
      `select m.merge_id from steep_repl.start_merge(${quoteLiteral(params.peer)}, ${tablesOf(facts)}, strategy => ${quoteLiteral(params.strategy)}, other_subscribers => 'ignore'${params.last_modified_column === null ? "" : `, last_modified_column => ${quoteLiteral(params.last_modified_column)}`}) m`,
      "merge",
    )
  );
};

/** Each node gets its share of the values of sequences. */
export const sharing: Step = ({ facts, params }) =>
  params.sequences === "keep" || facts.pair.is_shared
    ? null
    : statement(
        "sequences",
        "sequences",
        "local",
        `select steep_repl._pair_share($1, ${quoteLiteral(facts.pair.pair_id)})`,
        "shared",
      );

/** Nothing differs, and nothing is on its way: what a pair is complete by. */
export const comparing: Step = (input) => {
  const { facts, params, isFresh } = input;
  const { overlap } = facts;
  if (overlap === null || (isFresh && overlap.status === "complete" && differs(overlap))) {
    return (
      connected(input) ??
      statement(
        "comparing",
        "comparison",
        "local",
        `select o.overlap_id from steep_repl.start_overlap(${quoteLiteral(params.peer)}, ${tablesOf(facts)}, catch_up_timeout => '10 min') o`,
        "overlap",
      )
    );
  }
  const action = followJob(
    "comparing",
    "local",
    "comparison",
    withId(overlap, facts.pair.overlap_id),
    isFresh,
  );
  if (action !== null) {
    return action;
  }
  // conflicts that are left to be resolved are what strategy manual is for
  if (differs(overlap) && !(params.existing === "merge" && params.strategy === "manual")) {
    throw new SteepError({
      sqlstate: "55000",
      message:
        overlap.differing > 0
          ? `the nodes replicate, and ${overlap.differing} rows differ`
          : `the nodes replicate, and ${overlap.unsettled} rows were still on their way`,
      detail: `The comparison is ${facts.pair.overlap_id}; overlap_rows() lists them.`,
      hint:
        params.existing === "merge"
          ? "retry_operation() compares once more; start_merge() makes them equal."
          : "The peer was written to, or was not equal. start_pair(..., existing => 'merge') makes both sides equal.",
    });
  }
  return null;
};

const differs = (overlap: { readonly differing: number; readonly unsettled: number }) =>
  overlap.differing > 0 || overlap.unsettled > 0;
