import { describe, expect, test } from "vitest";
import { SteepError } from "../../../plv8/db/steep-error.ts";
import { type MergeFacts, nextMergeAction, nextUndoAction } from "../../../plv8/merge/merge.ts";
import { mergeWarnings, type PeerFacts, refuseMerge } from "../../../plv8/merge/merge-checks.ts";
import type { MergeParams } from "../../../plv8/merge/merge-params.ts";
import type { MergeAction, MergeDone } from "../../../plv8/shared/action.ts";

const params: MergeParams = {
  strategy: "prefer-local",
  dry_run: false,
  last_modified_column: null,
  local_only: "push",
  remote_only: "pull",
  backlog: "refuse",
  other_subscribers: "refuse",
  overlap_id: null,
  actions: {
    local_only: "insert_remote",
    remote_only: "insert_local",
    conflict: "update_remote",
    unsettled: "again",
  },
};

/** Of a role that may do everything, where nothing is in the way. */
const fine: MergeFacts = {
  tables: 2,
  skipped: null,
  differing: null,
  rules: null,
  row_security: null,
  not_writable: null,
  not_settable: null,
  circle: null,
  unchecked: null,
  unmatched: null,
  protected: null,
  checked_as_text: null,
  untested: null,
  read_only: null,
  fires_triggers: null,
  acting: null,
  without_origin: null,
  without_stamps: null,
  replicates: false,
  backlog: null,
  lost: null,
  resuming: null,
  taken_back: null,
  unidentified: null,
  given_up: null,
  lacks_to_discard: null,
  without_slot: null,
  echoing: null,
  apply_errors: null,
  skipping: null,
  busy_slots: null,
  waiting_slots: null,
  other_slots: null,
  clock_difference: 0,
  role: '"Ann B"',
  compared: 0,
  colliding: 0,
  collisions: null,
  steps: 3,
  written: 0,
  changed: 0,
  rounds: 1,
  discards: false,
};

const discard = { backlog: "discard" } as const;
const waiting = { replicates: true, backlog: "slot s" } as const;

type Next = typeof nextMergeAction;

function nextBy(planner: Next, done: MergeDone, facts: Partial<MergeFacts>, changed: object) {
  return planner(done, { ...params, ...changed } as MergeParams, { ...fine, ...facts });
}

const next = (
  done: MergeDone,
  facts: Partial<MergeFacts> = {},
  changed: Partial<MergeParams> = {},
) => nextBy(nextMergeAction, done, facts, changed);

const undoPlanner: Next = (done, _, facts) => nextUndoAction(done, facts);

const nextOfUndo = (done: MergeDone, facts: Partial<MergeFacts> = {}) =>
  nextUndoAction(done, { ...fine, ...facts });

function errorOf(action: () => unknown) {
  try {
    action();
  } catch (e) {
    if (e instanceof SteepError) return e.data;
    throw e;
  }
  throw new Error("it was not refused");
}

const refusal = (facts: Partial<PeerFacts>, changed: Partial<MergeParams> = {}) =>
  errorOf(() => refuseMerge({ ...params, ...changed } as MergeParams, { ...fine, ...facts }));

const accepts = (facts: Partial<PeerFacts>, changed: Partial<MergeParams> = {}) =>
  refuseMerge({ ...params, ...changed } as MergeParams, { ...fine, ...facts });

/** What C would make of the actions: all that were done, with their numbers. */
function wholeJob(
  planner: Next,
  { changes = [], ...facts }: Partial<MergeFacts> & { changes?: readonly number[] } = {},
  changed: Partial<MergeParams> = {},
): string[] {
  const seen: string[] = [];
  let done: MergeDone = null;
  const now = { ...fine, ...facts, rounds: 0 };
  const begin = () => Object.assign(now, { rounds: now.rounds + 1, written: 0 });
  for (;;) {
    const action: MergeAction = nextBy(planner, done, now, changed);
    seen.push("no" in action ? `${action.kind} ${action.no}` : action.kind);
    if (action.kind === "complete" || seen.length > 100) return seen;
    if (action.kind === "compare") now.compared = action.no;
    if (action.kind === "begin_merge") now.discards = action.discards === "yes";
    if (["check_unique", "look_again", "read_audit"].includes(action.kind)) begin();
    if (action.kind === "write")
      Object.assign(now, { written: action.no, changed: changes[now.rounds - 1] ?? 0 });
    done = action.kind;
  }
}

const toTheEnd = ["note_left", "move_sequences", "check_foreign_keys", "close_peer", "complete"];
const endOfUndo = ["note_left", "check_foreign_keys", "close_peer", "complete"];
const toTheWriting = ["open_peer", "begin_merge", "compare 1", "compare 2", "check_unique"];
const writes = ["write 1", "write 2", "write 3"];

describe("the order of a merge", () => {
  test.each([
    [null, {}, { kind: "open_peer", phase: "planning" }],
    ["open_peer", {}, { kind: "begin_merge", phase: "planning" }],
    ["begin_merge", {}, { kind: "compare", phase: "comparing", no: 1 }],
    ["compare", { compared: 1 }, { kind: "compare", phase: "comparing", no: 2 }],
    ["compare", { compared: 2 }, { kind: "check_unique", phase: "comparing" }],
    ["check_unique", {}, { kind: "write", phase: "merging", no: 1 }],
    ["check_unique", { discards: true }, { kind: "discard_backlog", phase: "comparing" }],
    ["discard_backlog", { discards: true }, { kind: "write", phase: "merging", no: 1 }],
    ["write", { written: 1 }, { kind: "write", phase: "merging", no: 2 }],
    ["write", { written: 3 }, { kind: "note_left", phase: "finalizing" }],
    ["note_left", {}, { kind: "move_sequences", phase: "finalizing" }],
    ["write", { written: 3, changed: 1 }, { kind: "look_again", phase: "merging" }],
    ["look_again", { rounds: 2, written: 3 }, { kind: "write", phase: "merging", no: 1 }],
    ["move_sequences", {}, { kind: "check_foreign_keys", phase: "finalizing" }],
    ["check_foreign_keys", {}, { kind: "close_peer", phase: "finalizing" }],
    ["close_peer", {}, { kind: "complete", phase: "complete" }],
  ] as const)("after %s with %j comes %j", (done, facts, action) => {
    expect(next(done, facts)).toMatchObject(action);
  });

  test("is: compare all tables, write all steps, finish", () => {
    expect(wholeJob(nextMergeAction)).toEqual([...toTheWriting, ...writes, ...toTheEnd]);
  });

  test("without tables, or without rows to write, is the same without those", () => {
    expect(wholeJob(nextMergeAction, { tables: 0, steps: 0 })).toEqual([
      ...["open_peer", "begin_merge", "check_unique"],
      ...toTheEnd,
    ]);
  });

  test("of a dry run is the same: C is who writes nothing", () => {
    expect(wholeJob(nextMergeAction, {}, { dry_run: true })).toEqual(wholeJob(nextMergeAction));
  });

  test("has no step of an undo", () => {
    expect(() => next("read_audit")).toThrow("no step of a merge: read_audit");
  });

  test("has steps that an undo has not", () => {
    expect(() => nextOfUndo("compare")).toThrow("no step of an undo: compare");
  });

  test("an action is data: its JSON holds all of it", () => {
    for (const done of [null, "open_peer", "compare", "check_unique", "write"] as const) {
      const action = next(done, { fires_triggers: "here" });
      expect(JSON.parse(JSON.stringify(action))).toEqual(action);
    }
  });
});

describe("the order of an undo", () => {
  test("is: read the audit log, undo all steps, check foreign keys", () => {
    expect(wholeJob(undoPlanner)).toEqual([
      ...["open_peer", "begin_merge", "read_audit", ...writes, ...endOfUndo],
    ]);
  });

  test("of a merge that wrote nothing has nothing to undo", () => {
    expect(wholeJob(undoPlanner, { steps: 0 })).toEqual([
      ...["open_peer", "begin_merge", "read_audit", ...endOfUndo],
    ]);
  });

  test("looks again at rows that were put off, at most seven times", () => {
    expect(wholeJob(undoPlanner, { changes: [5, 0] })).toEqual([
      ...["open_peer", "begin_merge", "read_audit", ...writes, "look_again", ...writes],
      ...endOfUndo,
    ]);
    const seen = wholeJob(undoPlanner, { changes: Array(20).fill(1) });
    expect(seen.filter((kind) => kind === "look_again")).toHaveLength(7);
    expect(seen.slice(-4)).toEqual(endOfUndo);
  });

  test("is shown by phases as that of a merge is", () => {
    expect(nextOfUndo("begin_merge")).toEqual({ kind: "read_audit", phase: "planning" });
    expect(nextOfUndo("read_audit")).toEqual({ kind: "write", phase: "merging", no: 1 });
    expect(nextOfUndo("write", { written: 3 })).toEqual({
      ...{ kind: "note_left", phase: "finalizing" },
    });
  });

  test("begins with the checks of a merge", () => {
    expect(errorOf(() => nextOfUndo("open_peer", { not_writable: "public.t" }))).toMatchObject({
      sqlstate: "42501",
    });
  });
});

describe("rows that changed since they were compared", () => {
  const again = ["look_again", ...writes];

  test("are looked at again until none is left", () => {
    expect(wholeJob(nextMergeAction, { changes: [7, 2, 0] })).toEqual([
      ...[...toTheWriting, ...writes, ...again, ...again, ...toTheEnd],
    ]);
  });

  test("are left after 8 rounds", () => {
    const seen = wholeJob(nextMergeAction, { changes: Array(20).fill(1) });
    expect(seen.filter((kind) => kind === "look_again")).toHaveLength(7);
    expect(seen.slice(-5)).toEqual(toTheEnd);
    expect(next("write", { written: 3, changed: 1, rounds: 7 }).kind).toBe("look_again");
    expect(next("write", { written: 3, changed: 1, rounds: 8 }).kind).toBe("note_left");
  });

  test("are not looked at before all steps are written", () => {
    expect(next("write", { written: 2, changed: 1 })).toMatchObject({ kind: "write", no: 3 });
  });

  test("are looked at when the next round may have no step, and that is the last", () => {
    expect(next("look_again", { steps: 0, changed: 0, rounds: 2 }).kind).toBe("note_left");
  });

  test("of a dry run are not looked at again", () => {
    const facts = { written: 3, changed: 1 };
    expect(next("write", facts, { dry_run: true }).kind).toBe("note_left");
  });

  test("are left to replication where a backlog was discarded", () => {
    const facts = { written: 3, changed: 1, discards: true };
    expect(next("write", facts, discard).kind).toBe("note_left");
  });
});

describe("a backlog", () => {
  test("is discarded once all is compared and checked, before anything is written", () => {
    expect(wholeJob(nextMergeAction, waiting, discard)).toEqual([
      ...[...toTheWriting, "discard_backlog", ...writes, ...toTheEnd],
    ]);
  });

  test("is not discarded by a dry run, which compares as if it were", () => {
    const seen = wholeJob(nextMergeAction, waiting, { ...discard, dry_run: true });
    expect(seen).not.toContain("discard_backlog");
    expect(next("open_peer", waiting, { ...discard, dry_run: true })).toMatchObject({
      discards: "yes",
    });
  });

  test("is named in the warnings by its slots, of a dry run, too", () => {
    const facts = { ...waiting, waiting_slots: "s, peer: q" };
    const warnings = [expect.stringContaining("thrown away: s, peer: q (")];
    for (const dry_run of [false, true])
      expect(next("open_peer", facts, { ...discard, dry_run })).toMatchObject({ warnings });
  });

  test("that is not there is not discarded", () => {
    const facts = { replicates: true };
    expect(next("open_peer", facts, discard)).toMatchObject({ discards: "no", replicates: "yes" });
    expect(wholeJob(nextMergeAction, facts, discard)).not.toContain("discard_backlog");
  });

  test("stays where rows collide", () => {
    const facts = { discards: true, colliding: 1 };
    expect(errorOf(() => next("check_unique", facts, discard))).toMatchObject({
      sqlstate: "23505",
    });
  });
});

describe("what begins a merge", () => {
  test("says whether the sides replicate, and has no warnings where there are none", () => {
    expect(next("open_peer")).toEqual({
      ...{ kind: "begin_merge", phase: "planning", discards: "no", replicates: "no" },
    });
    expect(next("open_peer", { replicates: true })).toMatchObject({ replicates: "yes" });
  });

  test("has the warnings", () => {
    expect(next("open_peer", { fires_triggers: "here" })).toMatchObject({
      warnings: [expect.stringContaining("each row here ")],
    });
  });

  test("comes only where nothing is in the way", () => {
    expect(errorOf(() => next("open_peer", { differing: "public.t" }))).toMatchObject({
      sqlstate: "55000",
    });
  });
});

describe("rows that a unique index would refuse", () => {
  test("are refused with their number and some of them", () => {
    const facts = {
      colliding: 12,
      collisions: { examples: "table public.t, t_v_key: keys 1 and 2", swapping: 0 },
    };
    expect(errorOf(() => next("check_unique", facts))).toEqual({
      sqlstate: "23505",
      message: expect.stringMatching(/^12 rows to be merged have values that a unique index/),
      detail: facts.collisions.examples,
      hint: expect.stringContaining("start the merge again"),
    });
  });

  test("say what helps if they only stand in each other's way", () => {
    const hintOf = (swapping: number) =>
      errorOf(() => next("check_unique", { colliding: 3, collisions: { examples: "", swapping } }));
    expect(hintOf(3)).toMatchObject({
      message: expect.stringContaining("3 of these are kept for rows that the merge updates, too"),
      hint: expect.stringContaining("DEFERRABLE"),
    });
    expect(hintOf(2)).toMatchObject({
      message: expect.stringContaining("2 of these"),
      hint: expect.stringMatching(/^Change or delete/),
    });
  });

  test("are refused by a dry run, too, which is to say whether the merge would do", () => {
    const facts = { colliding: 1, collisions: null };
    const error = errorOf(() => next("check_unique", facts, { dry_run: true }));
    expect(error.sqlstate).toBe("23505");
    expect(error).not.toHaveProperty("detail");
  });
});

/** Each reason to refuse a merge by itself, in the order in which they are told. */
const refusals: readonly [
  what: string,
  facts: Partial<PeerFacts>,
  changed: Partial<MergeParams>,
  expected: { sqlstate: string; message: string; detail: string; hint: string },
][] = [
  [
    "a standby",
    { read_only: "at the peer" },
    {},
    { sqlstate: "25006", message: "one is a standby", detail: "at the peer", hint: "the primary" },
  ],
  [
    "tables of different definitions",
    { differing: "public.a, public.b" },
    {},
    {
      sqlstate: "55000",
      message: "defined in different ways",
      detail: "public.a, public.b",
      hint: "steep_repl.schema_diff()",
    },
  ],
  [
    "row security",
    { row_security: "peer: public.a" },
    {},
    {
      sqlstate: "0A000",
      message: "row security applies",
      detail: "peer: public.a",
      hint: 'BYPASSRLS, instead of "Ann B"',
    },
  ],
  [
    "rules that would be applied",
    { rules: "public.a" },
    {},
    {
      sqlstate: "0A000",
      message: "have rules",
      detail: "public.a",
      hint: "DISABLE RULE",
    },
  ],
  [
    "tables that may not be written",
    { not_writable: "public.a (UPDATE)" },
    {},
    {
      sqlstate: "42501",
      message: "permission denied to merge tables",
      detail: "public.a (UPDATE)",
      hint: "GRANT these rights",
    },
  ],
  [
    "sequences that may not be set",
    { not_settable: "public.a_id_seq" },
    {},
    {
      sqlstate: "42501",
      message: "permission denied for sequences",
      detail: "public.a_id_seq",
      hint: "GRANT SELECT, UPDATE ON each SEQUENCE",
    },
  ],
  [
    "a circle of foreign keys that are checked with each row",
    { circle: "public.a, public.b", fires_triggers: "here" },
    {},
    {
      sqlstate: "42501",
      message: "in a circle",
      detail: "public.a, public.b",
      hint: "GRANT SET ON PARAMETER session_replication_role",
    },
  ],
  [
    "no right to an origin where the sides replicate",
    { without_origin: "here and at the peer", replicates: true },
    {},
    {
      sqlstate: "42501",
      message: "replicate to each other",
      detail: "here and at the peer",
      hint: "pg_replication_origin_session_setup",
    },
  ],
  [
    "no commit timestamps for strategy last-modified",
    { without_stamps: "here" },
    { strategy: "last-modified" },
    {
      sqlstate: "55000",
      message: "needs track_commit_timestamp",
      detail: "here",
      hint: "last_modified_column",
    },
  ],
  [
    "other subscribers",
    { other_slots: "third" },
    {},
    {
      sqlstate: "55000",
      message: "other subscribers would miss",
      detail: "third",
      hint: "other_subscribers => 'ignore'",
    },
  ],
  [
    "subscriptions that would echo",
    { replicates: true, echoing: "s at the peer" },
    {},
    {
      ...{ sqlstate: "55000", message: "would get merged rows back", detail: "s at the peer" },
      hint: "SET (origin = none)",
    },
  ],
  [
    "a backlog",
    { backlog: "slot s, 8 kB behind" },
    {},
    {
      sqlstate: "55000",
      message: "changes wait to be replicated between the two sides",
      detail: "slot s, 8 kB behind",
      hint: "Let replication catch up first",
    },
  ],
  [
    "a backlog of subscriptions that are not at work",
    {
      backlog: "slot s, 8 kB behind",
      resuming: "here: ALTER SUBSCRIPTION s ENABLE;",
    },
    {},
    {
      sqlstate: "55000",
      message: "changes wait to be replicated between the two sides",
      detail: "slot s, 8 kB behind",
      hint: "Have replication go on (here: ALTER SUBSCRIPTION s ENABLE;)",
    },
  ],
  [
    "a backlog that will never come",
    { backlog: "slot s, 8 kB behind", lost: "subscription s here", resuming: "x" },
    {},
    {
      sqlstate: "55000",
      message: "changes wait to be replicated between the two sides",
      detail: "slot s, 8 kB behind",
      hint: "Nothing of it comes any more to subscription s here. Disable the subscriptions, and merge: backlog => 'discard'",
    },
  ],
  [
    "rights to discard a backlog that are missing",
    { backlog: "slot s", lacks_to_discard: "public.u (UPDATE)" },
    discard,
    {
      sqlstate: "42501",
      message: "permission denied to discard",
      detail: "public.u (UPDATE)",
      hint: "ALTER ROLE ... REPLICATION",
    },
  ],
  [
    "a backlog that is being sent",
    { backlog: "slot s", busy_slots: "s" },
    discard,
    {
      sqlstate: "55006",
      message: "while they are being sent",
      detail: "s",
      hint: "ALTER SUBSCRIPTION ... DISABLE",
    },
  ],
];

describe("a merge is refused for", () => {
  test.each(refusals)("%s", (_, facts, changed, { sqlstate, message, detail, hint }) => {
    expect(refusal(facts, changed)).toEqual({
      ...{ sqlstate, detail },
      message: expect.stringContaining(message),
      hint: expect.stringContaining(hint),
    });
  });

  const messageOf = (i: number) => refusals[i]?.[3].message ?? "";
  const pairs = refusals.slice(1).map((_, i) => [refusals[i]?.[0], refusals[i + 1]?.[0], i]);
  test.each(pairs as [string, string, number][])("%s before %s", (_one, _other, i) => {
    const [first, second] = [refusals[i], refusals[i + 1]];
    const facts = { ...second?.[1], ...first?.[1] };
    // a backlog is refused where it may not be discarded, and what follows where it may
    const both = first?.[3].message.startsWith("changes wait")
      ? {}
      : { ...second?.[2], ...first?.[2] };
    expect(refusal(facts, both).message).toContain(messageOf(i));
    expect(refusal(second?.[1] ?? {}, second?.[2]).message).toContain(messageOf(i + 1));
  });

  test("the first of all that apply", () => {
    const facts = Object.assign({}, ...refusals.map(([, f]) => f)) as Partial<PeerFacts>;
    expect(refusal(facts, { strategy: "last-modified" })).toMatchObject({ sqlstate: "25006" });
  });

  test("nothing, where nothing is in the way", () => {
    expect(accepts({})).toBeUndefined();
  });
});

describe("what is no reason to refuse:", () => {
  test.each<[string, Partial<PeerFacts>, Partial<MergeParams>]>([
    ["triggers that fire", { fires_triggers: "here" }, {}],
    ["a circle where foreign keys are checked at the end", { circle: "public.a, public.b" }, {}],
    ["no right to an origin where nothing replicates", { without_origin: "here" }, {}],
    [
      "no commit timestamps where a column says it",
      { without_stamps: "here" },
      { strategy: "last-modified", last_modified_column: "at" },
    ],
    ["no commit timestamps for another strategy", { without_stamps: "here" }, {}],
    ["other subscribers that are ignored", { other_slots: "x" }, { other_subscribers: "ignore" }],
    ["a backlog that may be discarded", waiting, discard],
    ["tables left out of it, which are compared", { ...waiting, given_up: "public.c" }, discard],
    ["busy slots where nothing waits", { busy_slots: "s" }, discard],
    ["clocks that are apart", { clock_difference: 1e6 }, { strategy: "last-modified" }],
  ])("%s", (_, facts, changed) => {
    expect(accepts(facts, changed)).toBeUndefined();
  });

  test("other subscribers are not ignored along with a backlog, nor the other way round", () => {
    expect(refusal({ other_slots: "x" }, discard).message).toContain("other subscribers");
    expect(refusal(waiting, { other_subscribers: "ignore" }).message).toContain("changes wait");
  });
});

describe("warnings", () => {
  const warnings = (facts: Partial<PeerFacts>, changed: Partial<MergeParams> = {}) =>
    mergeWarnings({ ...params, ...changed } as MergeParams, { ...fine, ...facts });
  const lastModified = { strategy: "last-modified" } as const;

  test("there are none without a reason", () => {
    expect(warnings({}, lastModified)).toEqual([]);
  });

  test("of triggers say where they fire, and the grant that avoids it", () => {
    expect(warnings({ fires_triggers: "here and at the peer" })).toEqual([
      expect.stringMatching(
        /^triggers fire .* each row here and at the peer \(GRANT SET ON PARAMETER session_replication_role /,
      ),
    ]);
  });

  test("of clocks come from more than a second on, where it matters", () => {
    expect(warnings({ clock_difference: 1000 }, lastModified)).toEqual([]);
    expect(warnings({ clock_difference: 1001 }, lastModified)).toEqual([
      "the clocks are 1.0 s apart, so which change was the last one is not certain",
    ]);
    expect(warnings({ clock_difference: 12_345 }, lastModified)).toEqual([
      expect.stringContaining("12.3 s apart"),
    ]);
    expect(warnings({ clock_difference: 12_345 })).toEqual([]);
  });

  test("are told all at once", () => {
    expect(warnings({ fires_triggers: "here", clock_difference: 5000 }, lastModified)).toHaveLength(
      2,
    );
  });
});
