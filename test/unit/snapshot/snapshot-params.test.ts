import { describe, expect, test } from "vitest";
import type { Json } from "../../../plv8/db/sql.ts";
import { SteepError } from "../../../plv8/db/steep-error.ts";
import { compressions, snapshotParams } from "../../../plv8/snapshot/snapshot-params.ts";

type Raw = { readonly [name: string]: Json };

/** As the SQL function sends them when only the path is given. */
const asQueued = {
  output_path: "/backups/one",
  compression: "zstd",
  parallel: 4,
  level: null,
  tables: null,
  schemas: null,
  slot_name: null,
  publications: null,
  node_id: null,
  large_objects: "refuse",
  exclude_tables: null,
  exclude: null,
};

function refusal(changes: Raw) {
  try {
    snapshotParams({ ...asQueued, ...changes });
  } catch (e) {
    if (e instanceof SteepError) return e.data;
    throw e;
  }
  throw new Error(`accepted ${JSON.stringify(changes)}`);
}

test("defaults pass unchanged", () => {
  expect(snapshotParams(asQueued)).toEqual(asQueued);
});

test("what was checked once passes again unchanged", () => {
  const once = snapshotParams({ ...asQueued, tables: ['public."A"'], level: -3, node_id: "a" });
  expect(snapshotParams(JSON.parse(JSON.stringify(once)))).toEqual(once);
});

test("members that may be absent are null or their default", () => {
  expect(
    snapshotParams({ output_path: "/backups/one", compression: "none", parallel: 1 }),
  ).toMatchObject({
    level: null,
    tables: null,
    schemas: null,
    node_id: null,
    large_objects: "copy",
  });
});

test("members that nobody knows are dropped", () => {
  expect(snapshotParams({ ...asQueued, evil: "x" })).not.toHaveProperty("evil");
});

describe("output_path", () => {
  test.each([null, ""])("must not be %j", (output_path) => {
    expect(refusal({ output_path })).toMatchObject({
      sqlstate: "22023",
      message: "output_path must not be null or empty",
    });
  });

  test("must be there", () => {
    expect(() => snapshotParams({ compression: "zstd", parallel: 1 })).toThrow("output_path");
  });

  test("is kept byte for byte: C decides whether it may be used", () => {
    const output_path = " /back ups/ä\n🐘/../x ";
    expect(snapshotParams({ ...asQueued, output_path })).toMatchObject({ output_path });
  });
});

describe("compression", () => {
  test.each(compressions)("may be %s", (compression) => {
    expect(snapshotParams({ ...asQueued, compression })).toMatchObject({ compression });
  });

  test.each(["ZSTD", "bzip2", "zstd ", "zstd:3", "toString"])("may not be %j", (compression) => {
    expect(refusal({ compression })).toEqual({
      sqlstate: "22023",
      message: `unknown compression "${compression}"`,
      hint: "Use one of none, gzip, lz4, zstd.",
    });
  });
});

describe("parallel", () => {
  test.each([1, 2, 64])("may be %i", (parallel) => {
    expect(snapshotParams({ ...asQueued, parallel })).toMatchObject({ parallel });
  });

  test.each([0, -1, 65, 2147483647, null])("may not be %j", (parallel) => {
    expect(refusal({ parallel })).toMatchObject({
      sqlstate: "22023",
      message: "parallel must be between 1 and 64",
    });
  });

  test.each([1.5, "4", true, [4]])("must be an integer, not %j", (parallel) => {
    expect(refusal({ parallel })).toMatchObject({
      sqlstate: "22023",
      message: "parallel must be an integer",
    });
  });
});

describe("level", () => {
  test.each([-131072, 0, 22, null])("may be %j: its range is the compressor's to say", (level) => {
    expect(snapshotParams({ ...asQueued, level })).toMatchObject({ level });
  });

  test.each([2.5, "3", {}])("must be an integer, not %j", (level) => {
    expect(refusal({ level })).toMatchObject({ sqlstate: "22023" });
  });
});

describe.each(["tables", "schemas"])("%s", (name) => {
  test("may name some, in any spelling", () => {
    const names = ['public."a.b"', "x", 'y"z', "🐘"];
    expect(snapshotParams({ ...asQueued, [name]: names })).toMatchObject({ [name]: names });
  });

  test("must name at least one, and says how to ask for all", () => {
    expect(refusal({ [name]: [] })).toEqual({
      sqlstate: "22023",
      message: `${name} must name at least one`,
      hint: `Leave ${name} out for all.`,
    });
  });

  test.each([[[null]], [[""]], [["a", null]], [[1]], [[["a"]]]])("must not hold %j", (names) => {
    expect(refusal({ [name]: names as Json })).toMatchObject({
      sqlstate: "22023",
      message: `${name} must not contain null or empty names`,
    });
  });

  test.each(["public.t", 1, true, { 0: "a", length: 1 }])("must be a list, not %j", (names) => {
    expect(refusal({ [name]: names as Json }).sqlstate).toBe("22023");
  });
});

test("tables and schemas exclude each other", () => {
  expect(refusal({ tables: ["a"], schemas: ["b"] })).toMatchObject({
    sqlstate: "22023",
    message: "tables and schemas cannot both be given",
  });
});

test("what is left out goes with patterns, whose translation cannot be another", () => {
  const exclude_tables = ["audit.*", '"Log"'];
  const once = snapshotParams({
    ...asQueued,
    exclude: undefined as unknown as Json,
    exclude_tables,
  });
  const exclude = [
    { schema: "^(audit)$", name: "^(.*)$" },
    { schema: null, name: "^(Log)$" },
  ];
  expect(once).toMatchObject({ exclude_tables, exclude });
  expect(snapshotParams(JSON.parse(JSON.stringify(once)))).toEqual(once);
  for (const other of [null, [], [{}, null], [exclude[1], exclude[0]], "x", {}, 1] as Json[])
    expect(refusal({ exclude_tables, exclude: other }).message).toBe(
      "exclude is not what exclude_tables means",
    );
  expect(refusal({ exclude_tables: ["a.b.c"] }).sqlstate).toBe("22023");
  expect(refusal({ exclude_tables: [] }).sqlstate).toBe("22023");
});

test("a slot needs publications, and publications a slot", () => {
  expect(refusal({ slot_name: "s" })).toMatchObject({ sqlstate: "55000" });
  expect(refusal({ publications: ["p"] })).toMatchObject({ sqlstate: "22023" });
  expect(refusal({ slot_name: "s", publications: [] })).toMatchObject({ sqlstate: "22023" });
  const both = { slot_name: "to_b_2", publications: ['odd "name"'] };
  expect(snapshotParams({ ...asQueued, ...both })).toMatchObject(both);
});

test.each(["Upper", "with space", "ümlaut", "", "x".repeat(64), "a-b"])(
  "%j is no slot name",
  (slot_name) => {
    expect(refusal({ slot_name, publications: ["p"] }).sqlstate).toBe("22023");
  },
);

test.each(["maybe", "REFUSE", ""])("large_objects may not be %j", (large_objects) => {
  expect(refusal({ large_objects }).sqlstate).toBe("22023");
});

test("no kind of garbage gives anything but an error with a SQLSTATE", () => {
  const garbage: Json[] = [0, -1, 0.5, 1e300, true, false, "", "x", [], [null], [[]], {}, { a: 1 }];
  for (const name of Object.keys(asQueued)) {
    for (const value of garbage) {
      try {
        snapshotParams({ ...asQueued, [name]: value });
      } catch (e) {
        expect(e, `${name} = ${JSON.stringify(value)}`).toBeInstanceOf(SteepError);
      }
    }
  }
});
