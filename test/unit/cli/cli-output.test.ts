import { expect, test } from "vitest";
import { Rate } from "../../../cli/job/rate.ts";
import { oneLine, visible } from "../../../cli/output/one-line.ts";
import { errorLine } from "../../../cli/output/report-error.ts";
import { commandOptions } from "../../../cli/output/shell-words.ts";
import { table } from "../../../cli/output/table.ts";
import { duration, exactBytes } from "../../../cli/output/units.ts";
import { splitNames, unquote } from "../../../cli/split-names.ts";
import { call } from "../../../cli/sql-call.ts";

test("control characters of a name do not reach the terminal", () => {
  expect(visible('a\nb\x1b[31m"🐘"\u202e')).toBe('a\\nb\\u001b[31m"🐘"\\u202e');
});

test("an error is one line, with what to do", () => {
  expect(oneLine("a\n  b\n")).toBe("a; b");
  expect(errorLine("no\nway", "it is so", "go on")).toBe(
    "steep-repl: no; way (it is so); hint: go on",
  );
});

test("columns are as wide as the widest, numbers on the right, wide characters too", () => {
  const text = table(
    [
      ["name", "n"],
      ["ä🐘", "9007199254740993"],
      ["plain", "1"],
    ],
    ["left", "right"],
  );
  expect(text.split("\n")).toEqual([
    "name                  n",
    "ä🐘    9007199254740993",
    "plain                 1",
  ]);
});

test("many rows are aligned alike, and soon there", () => {
  const rows = Array.from({ length: 5000 }, (_, i) => ["x".repeat(1 + (i % 40)), `${i}`, ""]);
  const began = performance.now();
  const lines = table(rows, ["left", "right", "left"]).split("\n");
  // 60 s where all rows go through the printer at once
  expect(performance.now() - began).toBeLessThan(10_000);
  expect(lines).toHaveLength(5000);
  expect(new Set(lines.map((line) => line.length))).toEqual(new Set([40 + 2 + 4]));
});

test("lists are split at commas that are not within quotes", () => {
  expect(splitNames('a.b, "c,d"."e""f",g')).toEqual(["a.b", '"c,d"."e""f"', "g"]);
  expect(splitNames("")).toEqual([]);
  expect(["plain", '"a,""b"'].map(unquote)).toEqual(["plain", 'a,"b']);
});

test("only arguments that were given are passed, each as PostgreSQL reads it", () => {
  expect(call("f", { a: "x", b: undefined, c: ['q"', "\\"], d: false, e: null })).toEqual({
    sql: "select f.* from steep_repl.f(a => $1, c => $2, d => $3, e => $4) f",
    params: ["x", '{"q\\"","\\\\"}', "false", null],
  });
});

test("sizes are for people, and exact", () => {
  expect(exactBytes("12")).toBe("12 bytes");
  expect(exactBytes("9007199254740993")).toBe("8.0 PB (9007199254740993 bytes)");
  expect([5, 65, 3725].map(duration)).toEqual(["0:05", "1:05", "1:02:05"]);
});

test("flags to connect again are for a shell, without the password", () => {
  expect(commandOptions("postgresql://u:hush@h/it's", true)).toBe(
    String.raw` --direct -c 'user=u host=h dbname='\''it\'\''s'\'''`,
  );
  expect(commandOptions(undefined, false)).toBe("");
});

test("a rate is that of the last seconds, and starts anew with the counter", () => {
  const rate = new Rate(5000);
  rate.add(0, 0);
  expect(rate.perSecond).toBeUndefined();
  for (let s = 1; s <= 20; s++) rate.add(s < 10 ? 0 : (s - 9) * 100, s * 1000);
  expect(rate.perSecond).toBe(100);
  rate.add(5, 21_000);
  expect(rate.perSecond).toBeUndefined();
});
