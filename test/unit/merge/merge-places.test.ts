import { describe, expect, test } from "vitest";
import type { PlaceFacts, ValueFacts } from "../../../plv8/merge/merge-facts.ts";
import { planMerge } from "../../../plv8/merge/merge-plan.ts";
import { column, id, mergeFacts, v, writes } from "../../support/plan-facts.ts";

const e = column("e", "public.color", { kind: "other" });
const label: ValueFacts = {
  ...{ name: "e", type: "public.color", labels: "1", has_names: false, is_harmless: true },
};
const name: ValueFacts = { ...label, name: "v", type: "regclass", labels: null, has_names: true };
const partitions = { bounds: "1", columns: ["id"], is_harmless: true };
const none: PlaceFacts = { partitions: null, values: [], tests_values: true };

function testsOf(local: Partial<PlaceFacts>, peer: Partial<PlaceFacts> = local) {
  const facts = mergeFacts([id, v, e], {
    local_writes: writes({ places: { ...none, ...local } }),
    peer_writes: writes({ places: { ...none, ...peer } }),
  });
  return planMerge(facts).merge.places;
}

describe("rows are tested for a place", () => {
  test.each<[string, Partial<PlaceFacts>, Partial<PlaceFacts>]>([
    ["without partitions", {}, {}],
    ["with the same partitions", { partitions }, { partitions }],
    ["with the same labels", { values: [label] }, { values: [label] }],
  ])("not %s", (_, local, peer) => {
    expect(testsOf(local, peer)).toEqual({ local: null, peer: null, untested: [] });
  });

  test("where partitions differ, by the conditions of the side that they go to", () => {
    const { local, peer, untested } = testsOf(
      { partitions },
      { partitions: { ...partitions, bounds: "2", columns: ["v"] } },
    );
    expect(untested).toEqual([]);
    for (const side of [local, peer]) {
      expect(side?.test).toContain("pg_get_partition_constraintdef");
      expect(side?.test).toContain('i.e1::integer as "id", i.e2::text as "v"');
    }
    expect(local?.test).toContain("(here)");
    expect(peer?.test).toContain("(at the peer)");
  });

  test("for names, and for labels that are not the same", () => {
    const { local, peer } = testsOf(
      { values: [label, name] },
      { values: [{ ...label, labels: "2" }, name] },
    );
    for (const side of [local, peer]) {
      expect(side?.test).toContain("'regclass'");
      expect(side?.test).toContain("'public.color'");
      expect(side?.test).not.toContain("pg_get_partition_constraintdef");
    }
  });

  test("not where that would run code of others, which is named", () => {
    const harmful = { ...partitions, bounds: "2", is_harmless: false };
    const { local, peer, untested } = testsOf(
      { partitions, values: [name] },
      { partitions: harmful, values: [{ ...name, is_harmless: false }] },
    );
    expect([local, peer]).toEqual([null, null]);
    expect(untested).toEqual(["partitions of table public.t", 'column "v" of table public.t']);
  });

  test("not at a side that cannot say what a value is", () => {
    const { local, peer, untested } = testsOf(
      { values: [name] },
      { values: [name], tests_values: false },
    );
    expect(local).not.toBeNull();
    expect(peer).toBeNull();
    expect(untested).toEqual(['column "v" of table public.t']);
  });
});
