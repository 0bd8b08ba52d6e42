import { expect, test } from "vitest";
import type { ObjectFacts, PairFacts } from "../../../plv8/pair/pair-facts.ts";
import { pairParams } from "../../../plv8/pair/pair-params.ts";
import { planPair } from "../../../plv8/pair/plan.ts";

/* What a pair's job would do is told by the planner of the job: from wherever it begins, to its end. */

const raw = {
  ...{ peer: "b", existing: "refuse", strategy: "prefer-local", last_modified_column: null },
  ...{ sequences: "interleave", parallel: 4, output_path: null, schemas: null, tables: null },
  exclude_tables: null,
};

const nothing: ObjectFacts = { publication: null, subscription: null, slot: null, jobs: [] };
const left: ObjectFacts = {
  publication: { ...{ all_tables: false, via_root: true, is_whole: true }, tables: ["public.old"] },
  subscription: {
    ...{ is_enabled: false, slot: "other", publications: ["other"], origin: "any" },
    ...{ is_connected: false, error: null },
  },
  slot: { plugin: "pgoutput" },
  jobs: [],
};

function facts(pair: Partial<PairFacts["pair"]>, side: ObjectFacts): PairFacts {
  return {
    pair: {
      ...{ pair_id: "PAIR_ID", step: "plan", stepped_at: "now", local_node: "a" },
      ...{ tables: ["public.t"], snapshot_id: null, fetch_id: null, merge_id: null },
      ...{ overlap_id: null, has_schema: false, is_shared: false },
      ...pair,
    },
    names: { publication: "p", subscription: "s_a", slot: "s_b" },
    peer_names: { publication: "p", subscription: "s_b", slot: "s_a" },
    ...{ server: "to_b", peer_server: "to_a", path: "/x", peer_path: "/y" },
    ...{ here: side, there: side, merge: null, overlap: null },
  };
}

const plan = (args: object, pair: Partial<PairFacts["pair"]> = {}, side = nothing) =>
  planPair({ params: pairParams({ ...raw, ...args }), facts: facts(pair, side) });

const stepsOf = (...args: Parameters<typeof plan>) =>
  plan(...args)
    .filter(({ kind }) => kind === "statement")
    .map(({ side, name }) => `${side}: ${name}`);

const filled = (hasSchema: boolean) => [
  ...["local: publication here", "local: snapshot", "peer: fetch"],
  ...(hasSchema ? [] : ["peer: apply of the schema"]),
  ...["peer: subscription at the peer", "peer: apply of the data", "peer: publication at the peer"],
  ...["peer: slot at the peer", "local: subscription here", "peer: subscription enabled"],
  ...["local: sequences", "local: comparison", "local: tidied", "peer: tidied"],
];

test.each([false, true])("an empty peer that has the tables: %s", (hasSchema) => {
  expect(stepsOf({}, { has_schema: hasSchema })).toEqual(filled(hasSchema));
});

const published = ["local: publication here", "peer: publication at the peer"];
const subscribed = [
  ...["local: slot here", "peer: slot at the peer"],
  ...["local: subscription here", "peer: subscription at the peer"],
];

test("both have data", () => {
  expect(stepsOf({ existing: "merge" })).toEqual([
    ...[...published, "local: sequences", ...subscribed, "local: merge", "local: comparison"],
  ]);
  expect(stepsOf({ existing: "keep", sequences: "keep" })).toEqual([
    ...[...published, ...subscribed, "local: comparison"],
  ]);
});

test("what an earlier pair left goes first", () => {
  expect(stepsOf({ existing: "merge" }, {}, left)).toEqual([
    ...["local: reset", "peer: reset", "local: reset", "local: reset"],
    ...["peer: reset", "peer: reset"],
    ...[...published, "local: sequences", ...subscribed, "local: merge", "local: comparison"],
  ]);
});

test("jobs are waited for, and known by names that stand for their ids", () => {
  const waits = plan({}).flatMap(({ kind, sql }) =>
    kind === "wait" ? (/_waits_for\('(\w+_ID)/.exec(sql)?.[1] ?? []) : [],
  );
  expect(waits).toEqual([...["SNAPSHOT_ID", "FETCH_ID", "APPLY_ID", "APPLY_ID", "OVERLAP_ID"]]);
});

test("all arguments are in the SQL", () => {
  const text = (args: object) =>
    plan(args)
      .map(({ sql }) => sql)
      .join("\n");
  expect(text({ parallel: 9 })).toContain("parallel => 9");
  const merged = text({
    ...{ existing: "merge", strategy: "last-modified", last_modified_column: "at" },
  });
  expect(merged).toMatch(/strategy => 'last-modified'.*, last_modified_column => 'at'/);
});
