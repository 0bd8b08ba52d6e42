import type { PairAction, PairDone, PairSide } from "../shared/action.ts";
import { nextPairAction } from "./pair.ts";
import type { JobFacts, NamedJob, ObjectFacts, PairFacts } from "./pair-facts.ts";
import type { PairParams } from "./pair-params.ts";

/*
 * What a pair's job would do, told beforehand by the planner that the job goes by: each statement is taken to have done what it says,
 * and the next is asked for. What a statement does is read from its text, so that one of which that is not known is a bug, and no gap.
 */

/** A row of `_pair_plan()`. */
export interface PlannedStep {
  readonly kind: "statement" | "wait";
  readonly side: PairSide;
  readonly phase: string;
  readonly name: string;
  readonly sql: string;
}

type Statement = Extract<PairAction, { readonly kind: "statement" }>;
type Effect = (facts: PairFacts, statement: Statement) => PairFacts;

/** More than any pair takes. */
const maxSteps = 100;

/** A side of the facts, with something else in it. */
function withObjects(facts: PairFacts, side: PairSide, changed: Partial<ObjectFacts>): PairFacts {
  return side === "local"
    ? { ...facts, here: { ...facts.here, ...changed } }
    : { ...facts, there: { ...facts.there, ...changed } };
}

const objectsOf = (facts: PairFacts, side: PairSide) =>
  side === "local" ? facts.here : facts.there;

const withPair = (facts: PairFacts, changed: Partial<PairFacts["pair"]>): PairFacts => ({
  ...facts,
  pair: { ...facts.pair, ...changed },
});

const begun = { operation_id: "0", error: null, hint: null, sqlstate: null } as const;
const running: NamedJob = { ...begun, status: "running" };

function withJob(
  facts: PairFacts,
  side: PairSide,
  job: Pick<JobFacts, "id" | "operation" | "sections">,
): PairFacts {
  const jobs = [...objectsOf(facts, side).jobs, { ...running, ...job }];
  return withObjects(facts, side, { jobs });
}

const slot = { plugin: "pgoutput" };

const publish: Effect = (facts, { side }) =>
  withObjects(facts, side, {
    publication: {
      ...{ all_tables: false, via_root: true, is_whole: true },
      tables: facts.pair.tables ?? [],
    },
  });

const subscribe: Effect = (facts, { side, sql }) => {
  const other = side === "local" ? facts.peer_names : facts.names;
  return withObjects(facts, side, {
    subscription: {
      ...{ is_enabled: / true\)$/.test(sql), slot: other.slot, publications: [other.publication] },
      ...{ origin: "none", is_connected: false, error: null },
    },
  });
};

const snapshot: Effect = (facts, { side }) => {
  const job = { id: "SNAPSHOT_ID", operation: "generate", sections: [] } as const;
  return withPair(withJob(withObjects(facts, side, { slot }), side, job), {
    snapshot_id: job.id,
  });
};

const apply: Effect = (facts, { side, sql }) => {
  const [, list = ""] = /sections => array\[([^\]]*)\]/.exec(sql) ?? [];
  const sections = list.split(", ").map((name) => name.replace(/'/g, ""));
  return withJob(facts, side, { id: `APPLY_ID (${sections})`, operation: "apply", sections });
};

const enable: Effect = (facts, { side }) => {
  const { subscription } = objectsOf(facts, side);
  return subscription === null
    ? facts
    : withObjects(facts, side, { subscription: { ...subscription, is_enabled: true } });
};

const tidy: Effect = (facts, { side, sql }) =>
  withObjects(facts, side, {
    jobs: objectsOf(facts, side).jobs.filter(({ id }) => !sql.includes(id)),
  });

const drop =
  (what: "publication" | "subscription" | "slot"): Effect =>
  (facts, { side }) =>
    withObjects(facts, side, { [what]: null });

/** What statements do, by how they begin. */
const effects: readonly (readonly [RegExp, Effect])[] = [
  [/^create publication /, publish],
  [/^select steep_repl\._pair_create_slot\(/, (f, { side }) => withObjects(f, side, { slot })],
  [/^select steep_repl\._pair_subscribe\(/, subscribe],
  [/^alter subscription \S+ enable$/, enable],
  [/^select steep_repl\._pair_drop_subscription\(/, drop("subscription")],
  [/^select steep_repl\._pair_drop_slot\(/, drop("slot")],
  [/^select steep_repl\._pair_drop_publication\(/, drop("publication")],
  [/ steep_repl\.start_snapshot\(/, snapshot],
  [
    / steep_repl\.start_fetch\(/,
    (f, { side }) =>
      withPair(withJob(f, side, { id: "FETCH_ID", operation: "fetch", sections: [] }), {
        fetch_id: "FETCH_ID",
      }),
  ],
  [/ steep_repl\.start_apply\(/, apply],
  [/^select steep_repl\.drop_snapshot\(/, tidy],
  [
    / steep_repl\.start_merge\(/,
    (f) => ({ ...withPair(f, { merge_id: "MERGE_ID" }), merge: running }),
  ],
  [
    / steep_repl\.start_overlap\(/,
    (f) => ({
      ...withPair(f, { overlap_id: "OVERLAP_ID" }),
      overlap: { ...running, differing: 0, unsettled: 0 },
    }),
  ],
  [/^select steep_repl\._pair_share\(/, (f) => withPair(f, { is_shared: true })],
  [/^select 'done'$/, (f) => f],
];

/** The tables of a pair are decided by what was found on both sides. */
function planned({ closely, ...facts }: PairFacts, { sql }: Statement): PairFacts {
  const text = sql.slice("select '".length, -1).replace(/''/g, "'");
  return withPair(facts, JSON.parse(text) as Partial<PairFacts["pair"]>);
}

function after(facts: PairFacts, statement: Statement): PairFacts {
  const effect =
    statement.keeps === "plan"
      ? planned
      : effects.find(([pattern]) => pattern.test(statement.sql))?.[1];
  if (effect === undefined) {
    throw new Error(`what step "${statement.step}" of a pair does is not known`);
  }
  return withPair(effect(facts, statement), { step: statement.step });
}

/** All that runs is over, and what is enabled is connected. */
function waited(facts: PairFacts): PairFacts {
  const over = <T extends { readonly status: string }>(job: T): T => ({
    ...job,
    status: "complete",
  });
  const settled = (objects: ObjectFacts): ObjectFacts => ({
    ...objects,
    jobs: objects.jobs.map(over),
    subscription:
      objects.subscription === null
        ? null
        : { ...objects.subscription, is_connected: objects.subscription.is_enabled },
  });
  return {
    ...facts,
    here: settled(facts.here),
    there: settled(facts.there),
    merge: facts.merge === null ? null : over(facts.merge),
    overlap: facts.overlap === null ? null : over(facts.overlap),
  };
}

/**
 * Each statement and each wait of a pair that is to be set up, in order. What jobs will be called is not known yet: SNAPSHOT_ID and
 * the like stand for it.
 *
 * @throws SteepError where the job would fail at once, as for what preflight() finds
 */
export function planPair({
  params,
  facts: found,
}: {
  readonly params: PairParams;
  readonly facts: PairFacts;
}): readonly PlannedStep[] {
  const steps: PlannedStep[] = [];
  let facts = found;
  let done: PairDone = null;
  for (let count = 0; count < maxSteps; count++) {
    const action: PairAction = nextPairAction(done, params, facts);
    done = action.kind as PairDone;
    if (action.kind === "complete") {
      return steps;
    }
    if (action.kind === "statement") {
      facts = after(facts, action);
      const { side, phase, step: name, sql } = action;
      // those that only note where the job is
      if (action.keeps !== "plan" && sql !== "select 'done'") {
        steps.push({ kind: "statement", side, phase, name, sql });
      }
    } else if (action.kind === "wait") {
      facts = waited(facts);
      const { side, phase, sql } = action;
      steps.push({ kind: "wait", side, phase, name: "wait", sql });
    }
  }
  throw new Error("the plan of a pair does not come to an end");
}
