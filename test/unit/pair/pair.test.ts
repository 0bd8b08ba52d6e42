import { describe, expect, test } from "vitest";
import { SteepError } from "../../../plv8/db/steep-error.ts";
import { nextPairAction } from "../../../plv8/pair/pair.ts";
import type { JobFacts, ObjectFacts, PairFacts } from "../../../plv8/pair/pair-facts.ts";
import { pairParams } from "../../../plv8/pair/pair-params.ts";
import type { PairDone } from "../../../plv8/shared/action.ts";

const raw = {
  ...{ peer: "b", existing: "refuse", strategy: "prefer-local", last_modified_column: null },
  ...{ sequences: "interleave", parallel: 4, output_path: null, schemas: null, tables: null },
  exclude_tables: null,
};

const nothing: ObjectFacts = { publication: null, subscription: null, slot: null, jobs: [] };
const tables = ["public.t"];
const publication = { all_tables: false, via_root: true, is_whole: true, tables };
const subscription = (slot: string, other: string) => ({
  ...{ is_enabled: true, slot, publications: [other], origin: "none" },
  ...{ is_connected: true, error: null },
});
const slot = { plugin: "pgoutput" };
const job = (operation: JobFacts["operation"], changes: Partial<JobFacts> = {}): JobFacts => ({
  ...{ id: `${operation}_1`, operation, operation_id: "7", status: "complete" },
  ...{ error: null, hint: null, sqlstate: null, sections: [] },
  ...changes,
});

const names = { publication: "p", subscription: "s_a", slot: "s_b" };
const peer_names = { publication: "p", subscription: "s_b", slot: "s_a" };

function facts(changes: Partial<PairFacts> = {}): PairFacts {
  return {
    pair: {
      ...{ pair_id: "pair_1", step: "plan", stepped_at: "now", local_node: "a", tables },
      ...{ snapshot_id: null, fetch_id: null, merge_id: null, overlap_id: null },
      ...{ has_schema: false, is_shared: false },
    },
    ...{ names, peer_names, server: "to_b", peer_server: "to_a", path: "/x", peer_path: "/y" },
    ...{ here: nothing, there: nothing, merge: null, overlap: null },
    ...changes,
  };
}

const next = (found: PairFacts, args: object = {}, done: PairDone = "statement") =>
  nextPairAction(done, pairParams({ ...raw, ...args }), found);

const stepOf = (found: PairFacts, args: object = {}, done: PairDone = "statement") => {
  const action = next(found, args, done);
  return "step" in action ? `${action.side}: ${action.step}` : action.kind;
};

const here = (changes: Partial<ObjectFacts>): ObjectFacts => ({
  ...nothing,
  publication,
  ...changes,
});
const both = {
  here: here({ slot, subscription: subscription("s_a", "p") }),
  there: here({ slot, subscription: subscription("s_b", "p") }),
};

describe("the next step is what is missing", () => {
  const generated = here({ slot, jobs: [job("generate")] });
  const loaded = [
    job("fetch"),
    job("apply", { sections: ["pre-data"] }),
    job("apply", { sections: ["data", "post-data"] }),
  ];
  const disabled = { ...subscription("s_b", "p"), is_enabled: false };
  const cases: readonly (readonly [string, Partial<PairFacts>])[] = [
    ["local: publication here", {}],
    ["local: snapshot", { here: here({}) }],
    ["wait", { here: here({ jobs: [job("generate", { status: "running" })] }) }],
    ["peer: fetch", { here: generated }],
    [
      "peer: apply of the schema",
      { here: generated, there: { ...nothing, jobs: loaded.slice(0, 1) } },
    ],
    [
      "peer: subscription at the peer",
      { here: generated, there: { ...nothing, jobs: loaded.slice(0, 2) } },
    ],
    [
      "peer: apply of the data",
      { here: generated, there: { ...nothing, subscription: disabled, jobs: loaded.slice(0, 2) } },
    ],
    [
      "peer: publication at the peer",
      { here: generated, there: { ...nothing, subscription: disabled, jobs: loaded } },
    ],
    [
      "peer: transactions at the peer",
      { here: generated, there: { ...nothing, publication, subscription: disabled, jobs: loaded } },
    ],
    [
      "local: subscription here",
      {
        here: generated,
        there: { ...nothing, publication, slot, subscription: disabled, jobs: loaded },
      },
    ],
    [
      "peer: subscription enabled",
      { here: both.here, there: { ...nothing, publication, slot, subscription: disabled } },
    ],
    ["local: sequences", both],
    ["local: comparison", { ...both, pair: { ...facts().pair, step: "x", is_shared: true } }],
  ];
  test.each(cases)("%s", (step, found) => {
    const pair = { ...facts().pair, step: "publication here" };
    expect(stepOf(facts({ pair, ...found }))).toBe(step);
  });
});

test("a slot is made when the transactions before it are over", () => {
  const pair = { ...facts().pair, step: "transactions at the peer", is_shared: true };
  const found = facts({ pair, here: here({ slot }), there: here({}) });
  expect(next(found, { existing: "merge" })).toMatchObject({
    ...{ kind: "wait", side: "peer" },
    sql: expect.stringContaining("_pair_waits_for_transactions("),
  });
  expect(stepOf(found, { existing: "merge" }, "wait")).toBe("peer: slot at the peer");
  // begun again, it waits for those of now
  expect(stepOf(found, { existing: "merge" }, "open_peer")).toBe("peer: transactions at the peer");
});

test("what an earlier pair left goes first, subscriptions before slots", () => {
  expect(stepOf(facts(both))).toBe("local: reset");
  expect(next(facts(both))).toMatchObject({
    sql: expect.stringContaining("drop_subscription('s_a')"),
  });
  const rest = { here: here({ slot }), there: both.there };
  expect(next(facts(rest))).toMatchObject({ side: "peer", sql: expect.stringContaining("'s_b'") });
  const slots = { here: here({ slot }), there: here({ slot }) };
  expect(next(facts(slots))).toMatchObject({
    side: "local",
    sql: expect.stringContaining("drop_slot('s_b')"),
  });
  // a publication that is as it should be stays
  expect(stepOf(facts({ here: here({}), there: here({}) }))).toBe("local: snapshot");
});

test("a job that failed is tried again when the pair is, and else fails it", () => {
  const pair = { ...facts().pair, step: "snapshot" };
  const failed = job("generate", {
    status: "failed",
    error: "disk full",
    sqlstate: "53100",
    hint: "Make room.",
  });
  const found = facts({ pair, here: here({ jobs: [failed] }) });
  expect(next(found, {}, "open_peer")).toMatchObject({
    sql: expect.stringContaining("retry_operation(7)"),
  });
  expect(() => next(found, {}, "wait")).toThrow(SteepError);
  try {
    next(found, {}, "wait");
  } catch (e) {
    expect((e as SteepError).data).toMatchObject({
      ...{ sqlstate: "53100", message: "the snapshot failed" },
      ...{
        detail: expect.stringContaining("disk full"),
        hint: expect.stringContaining("Make room."),
      },
    });
  }
});

test("subscriptions that do not connect are waited for once", () => {
  const apart = {
    here: { ...both.here, subscription: { ...subscription("s_a", "p"), is_connected: false } },
    there: both.there,
  };
  const pair = { ...facts().pair, step: "sequences", is_shared: true };
  expect(stepOf(facts({ pair, ...apart }))).toBe("local: connecting");
  const waiting = facts({ pair: { ...pair, step: "connecting" }, ...apart });
  expect(stepOf(waiting)).toBe("wait");
  expect(() => next(waiting, {}, "wait")).toThrow(/do not replicate/);
});

test("rows that differ at the end are no pair, but those that wait to be resolved", () => {
  const overlap = {
    ...({
      status: "complete",
      operation_id: "9",
      error: null,
      hint: null,
      sqlstate: null,
    } as const),
    ...{ differing: 3, unsettled: 0 },
  };
  const pair = {
    ...facts().pair,
    step: "comparison",
    is_shared: true,
    merge_id: "m",
    overlap_id: "o",
  };
  const found = facts({ pair, ...both, overlap, merge: overlap });
  expect(() => next(found, { existing: "keep" }, "wait")).toThrow(/3 rows differ/);
  expect(() => next(found, { existing: "merge" }, "wait")).toThrow(/3 rows differ/);
  expect(next(found, { existing: "merge", strategy: "manual" }, "wait")).toMatchObject({
    kind: "close_peer",
  });
  // tried again, they are compared again
  expect(stepOf(found, { existing: "keep" }, "open_peer")).toBe("local: comparison");
});

test("an object of that name that is another is not touched", () => {
  const pair = { ...facts().pair, step: "slot here", is_shared: true };
  const other = { ...subscription("elsewhere", "p") };
  const found = facts({ pair, here: here({ slot, subscription: other }), there: here({ slot }) });
  expect(() => next(found, { existing: "keep" })).toThrow(/subscription "s_a" exists here/);
});

test.each([
  ["existing", "odd"],
  ["strategy", "odd"],
  ["sequences", "odd"],
  ["parallel", 65],
  ["output_path", "relative"],
  ["tables", []],
  ["peer", ""],
])("%s cannot be %s", (name, value) => {
  expect(() => pairParams({ ...raw, [name]: value })).toThrow(SteepError);
});
