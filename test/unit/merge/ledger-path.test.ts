import { describe, expect, test } from "vitest";
import { gapOf } from "../../support/ledger-path.ts";

const steps = (text: string) =>
  text.split(" ").map((step) => {
    const [one, two] = step.split(">").map((token) => (token === "-" ? null : (token ?? null)));
    return { old: one ?? null, new: two ?? null };
  });

describe("changes of a row are a path without a gap", () => {
  test.each([
    ["a>b b>c", "a", "c"],
    ["b>c a>b", "a", "c"],
    ["->a a>- ->a", null, "a"],
    ["a>b b>a", "a", "a"],
  ])("%s from %s to %s", (text, first, last) => {
    expect(gapOf(steps(text), first, last)).toBeNull();
  });

  test.each([
    ["a write that is in no log", "a>b", "a", "c"],
    ["a lost update", "a>b a>c", "a", "c"],
    ["a record of what was not written", "a>b b>c", "a", "b"],
    ["what comes from nowhere", "a>b x>y y>x", "a", "b"],
    ["a row that was written twice", "->a ->b", null, "b"],
  ])("but not with %s", (_, text, first, last) => {
    expect(gapOf(steps(text), first, last)).not.toBeNull();
  });
});
