import { describe, expect, test } from "vitest";
import { SteepError } from "../../../plv8/db/steep-error.ts";
import { tablePattern, tableScope } from "../../../plv8/shared/table-scope.ts";

/** Whether a pattern is of a table, as SQL matches it. */
function matches(pattern: string, schema: string, name: string): boolean {
  const { schema: ofSchema, name: ofName } = tablePattern(pattern);
  return (ofSchema === null || new RegExp(ofSchema).test(schema)) && new RegExp(ofName).test(name);
}

describe("a pattern", () => {
  test.each([
    ["orders", "public", "orders", true],
    ["orders", "sales", "orders", true],
    ["orders", "public", "orders2", false],
    ["public.orders", "public", "orders", true],
    ["public.orders", "sales", "orders", false],
    ["audit.*", "audit", "anything at all", true],
    ["*.log_*", "x", "log_1", true],
    ["*.log_*", "x", "blog_1", false],
    ["log?", "x", "log1", true],
    ["log?", "x", "log", false],
    ["ORDERS", "public", "orders", true],
    ["ORDERS", "public", "ORDERS", false],
    ['"ORDERS"', "public", "ORDERS", true],
    ['"a*b"', "public", "a*b", true],
    ['"a*b"', "public", "axb", false],
    ['"a.b".c', "a.b", "c", true],
    ['"say ""hi"""', "public", 'say "hi"', true],
    ["a$b", "public", "a$b", true],
    ["t[0-9]+", "public", "t12", true],
    ["a|b", "public", "b", true],
    ["a|b", "public", "ab", false],
  ])("%s is of %s.%s: %s", (pattern, schema, name, expected) => {
    expect(matches(pattern, schema, name)).toBe(expected);
  });

  test.each(["a.b.c", "", ".a", "a.", '"a', "a..b"])("%j is none", (pattern) => {
    expect(() => tablePattern(pattern)).toThrow(SteepError);
  });
});

describe("the scope of a comparison", () => {
  test("is all tables where nothing is said", () => {
    expect(tableScope({})).toEqual({ schemas: null, exclude: [], skip_unsuitable: false });
  });

  test.each([
    { schemas: ["a"], tables: ["a.t"] },
    { schemas: [] },
    { exclude_tables: [""] },
    { exclude_tables: "a" },
    { skip_unsuitable: 1 },
  ])("cannot be %j", (raw) => {
    expect(() => tableScope(raw)).toThrow(SteepError);
  });
});
