import { describe, expect, test } from "vitest";
import { SteepError } from "../../../plv8/db/steep-error.ts";
import type { PlaceFacts } from "../../../plv8/merge/merge-facts.ts";
import { planMerge } from "../../../plv8/merge/merge-plan.ts";
import type { ColumnFacts } from "../../../plv8/overlap/overlap-facts.ts";
import { planOverlap } from "../../../plv8/overlap/overlap-plan.ts";
import { type Json, leavesOf, replaced } from "../../support/leaves.ts";
import { column, mergeFacts, ofKey, unique, writes } from "../../support/plan-facts.ts";

/*
 * A peer may answer anything. Whatever stands in place of whichever value of its facts, a plan is refused, or has
 * nothing of it: neither in statements for this side, nor in those for the peer, whose answers come back.
 */

const marker = "pwned()";
const injections: readonly Json[] = [
  marker,
  `x'); select ${marker}; --`,
  `1); select ${marker}; --`,
  `int4[]); select ${marker}; --`,
  `x"; select ${marker}; --`,
  `$1$$; select ${marker}; --`,
  [marker],
  { [marker]: marker },
  null,
  true,
  -1,
  1e308,
  "",
];

const kinds: readonly ColumnFacts[] = [
  column("id", "bigint", { base: "int8" }),
  column("v", "text"),
  column("n", "numeric", { has_spellings: true, has_signs: true }),
  column("j", "jsonb", { has_spellings: true, has_signs: true, textual: true }),
  column("d", "public.dom", {
    base: "timestamptz",
    base_type: "timestamp with time zone",
    is_builtin: true,
  }),
  column("e", "public.color", { kind: "other" }),
  column("a", "integer[]", { kind: "container", base: "int4", has_array: true }),
  column("c", "public.pair", {
    kind: "container",
    has_row: true,
    has_spellings: true,
    has_signs: true,
  }),
  column("g", "integer", { generated: true }),
];

const keys = {
  "an integer": ["id"],
  "two columns of types that roles have made": ["e", "d"],
  numeric: ["n"],
  "a composite": ["c"],
};
const indexes = [
  ofKey,
  unique({ predicate: "(id > 0)" }),
  unique({
    name: "t_e_key",
    columns: ["e"],
    expressions: ["e"],
    types: ["public.color"],
    readings: ["text"],
  }),
];

const places: PlaceFacts = {
  partitions: { bounds: "1", columns: ["id", "v"], is_harmless: true },
  values: [
    { name: "e", type: "public.color", labels: "1", has_names: false, is_harmless: true },
    { name: "c", type: "public.pair", labels: null, has_names: true, is_harmless: true },
  ],
  tests_values: true,
};

function factsWith(key: readonly string[], isKeyOfPeer: boolean) {
  const facts = mergeFacts(kinds, {
    table: { keys: [{ primary: true, immediate: true, columns: key }], functions: "x" },
    local_writes: writes({ unique: indexes, places }),
    options: { actions: { conflict: "stamps" }, last_modified_column: "d" },
  });
  return isKeyOfPeer && facts.local ? { ...facts, local: { ...facts.local, keys: [] } } : facts;
}

type Facts = ReturnType<typeof factsWith>;

/** What a planner makes of facts; null where it refuses them. */
function planOf(plan: (facts: Facts) => unknown, facts: Facts): string | null {
  try {
    return JSON.stringify(plan(facts));
  } catch (error) {
    // a mistake of ours would be another error
    expect(error, JSON.stringify(facts)).toBeInstanceOf(SteepError);
    return null;
  }
}

describe.each(Object.entries(keys))("with %s for a key", (_, key) => {
  describe.each([
    ["a comparison", planOverlap],
    ["a merge", planMerge],
  ] as const)("%s", (_, plan) => {
    test.each(["peer", "peer_writes"] as const)("takes no text of %s into a statement", (part) => {
      let planned = 0;
      for (const isKeyOfPeer of [false, true]) {
        const honest = factsWith(key, isKeyOfPeer);
        expect(planOf(plan, honest)).not.toBeNull();
        const said = honest[part] as unknown as Json;
        const ways = leavesOf(said);
        expect(ways.length).toBeGreaterThan(5);
        for (const way of ways)
          for (const injection of injections) {
            const lying = { ...honest, [part]: replaced(said, way, injection) } as Facts;
            const made = planOf(plan, lying);
            if (made !== null) planned++;
            expect(made ?? "", `${way.join(".")} = ${JSON.stringify(injection)}`).not.toContain(
              marker,
            );
          }
      }
      // else there would be nothing to look at
      if (part === "peer" || plan === planOverlap) expect(planned).toBeGreaterThan(10);
    });
  });
});

test("a peer that answers no facts at all is refused, whatever it answers", () => {
  for (const answer of [...injections, 0, "x", [], {}, [[]], { columns: {} }]) {
    const honest = factsWith(["id"], false);
    for (const part of ["peer", "peer_writes"] as const)
      if (!(part === "peer_writes" && answer === null))
        expect(
          planOf(planMerge, { ...honest, [part]: answer } as unknown as Facts),
          JSON.stringify(answer),
        ).toBeNull();
    expect(planOf(planMerge, { ...honest, peer_writes: null } as unknown as Facts)).toBeNull();
  }
});

test("a column that only the peer describes as one thing is read as text on both sides", () => {
  const honest = factsWith(["id"], false);
  const columns = kinds.map((c) =>
    c.name === "v" ? { ...c, is_builtin: false, kind: "other" as const } : c,
  );
  const plan = planOverlap({ ...honest, peer: honest.peer && { ...honest.peer, columns } });
  for (const side of [plan.local, plan.peer]) expect(side.look.join("")).toContain('concat(t."v")');
});
