import { expect, test } from "vitest";
import { failures, printsAsShown } from "../../support/manual.ts";

const shown = `
  status  | rows
----------+------
 complete |   20
(1 row)`;

test("what is printed is compared without regard to the width of columns", () => {
  expect(printsAsShown(shown, " status | rows \n---+---\n complete | 20\n(1 row)\n\n")).toBe(true);
});

test.each([
  ["a value", " status | rows\n---+---\n complete | 21\n(1 row)"],
  ["a line more", " status | rows\n---+---\n complete | 20\n complete | 20\n(1 row)"],
  ["nothing", ""],
])("what differs is found: %s", (_, printed) => {
  expect(printsAsShown(shown, printed)).toBe(false);
});

test("what differs from run to run may be anything of its kind", () => {
  const was = "snap_20261130_120000_1a2b3c4d at 0/C1BD1B8, 2026-11-30 12:00:00.5+00";
  const is = "snap_20270101_000000_ffffffff at 1/0C1BD1B, 2027-01-01 00:00:00+00";
  expect(printsAsShown(was, is)).toBe(true);
  expect(printsAsShown(was, is.replace("snap_", "merge_"))).toBe(false);
});

test("… stands for anything", () => {
  expect(printsAsShown("a … b\n…", "a 1.5 [x] b\nc\nd")).toBe(true);
  expect(printsAsShown("a … b", "a 1 c")).toBe(false);
});

test("a statement that fails is no success", () => {
  expect(failures("ERROR:  division by zero\n")).toHaveLength(1);
  expect(failures(" error_message \n---\n(0 rows)\n")).toEqual([]);
});
