import { describe, expect, test } from "vitest";
import { bucketCount } from "../../../plv8/overlap/overlap-buckets.ts";
import type { ColumnFacts, PairFacts, TableFacts } from "../../../plv8/overlap/overlap-facts.ts";
import { planOverlap } from "../../../plv8/overlap/overlap-plan.ts";

function column(name: string, type: string, more: Partial<ColumnFacts> = {}): ColumnFacts {
  return {
    name,
    type,
    base_type: type,
    is_builtin: !type.includes("."),
    generated: false,
    kind: "scalar",
    base: { integer: "int4", bigint: "int8" }[type] ?? type,
    has_array: false,
    has_row: false,
    has_signs: type === "numeric",
    has_spellings: type === "numeric",
    textual: type === "text",
    readable: true,
    ...more,
  };
}

function facts(columns: readonly ColumnFacts[], more: Partial<TableFacts> = {}): TableFacts {
  return {
    kind: "r",
    encoding: "UTF8",
    functions: null,
    bytes: 8192 * 1000,
    rows: 100_000,
    columns,
    keys: [{ primary: true, immediate: true, columns: ["id"] }],
    ...more,
  };
}

const columns = [column("id", "integer"), column("v", "text")];
const pair = (more: Partial<PairFacts> = {}): PairFacts => ({
  table: "public.t",
  local: facts(columns),
  peer: facts(columns),
  key: null,
  ...more,
});

/** The FROM item of keys of one column, which is read as that type. */
const keysOfOne = (type: string) =>
  `format('unnest(%L::int[], %L::${type}[])', array_agg(d.no), array_agg(d.key[1]))`;

/** What planOverlap refuses a pair with. */
function refusal(more: Partial<PairFacts>): unknown {
  try {
    planOverlap(pair(more));
  } catch (e) {
    return (e as { data: unknown }).data;
  }
  throw new Error("it was not refused");
}

test("rows are digested by our function where both sides have the same, and by SQL elsewhere", () => {
  const plan = (local: string | null, peer: string | null, wide = columns) =>
    planOverlap(
      pair({
        local: facts(wide, { functions: local }),
        peer: facts(wide, { functions: peer }),
      }),
    ).peer.buckets.join();
  const ours = "steep_repl._row_digest(";
  expect(plan("0.2.0 18 x86_64", "0.2.0 18 x86_64")).toContain(`${ours}t."id", t."v")`);
  expect(plan("0.2.0 18 x86_64", "0.2.0 18 aarch64")).not.toContain(ours);
  expect(plan("0.2.0 18 x86_64", null)).not.toContain(ours);
  expect(plan(null, null)).not.toContain(ours);
  const many = Array.from({ length: 100 }, (_, i) => column(`c${i}`, "integer"));
  expect(plan("x", "x", [columns[0] as ColumnFacts, ...many])).not.toContain(ours);
});

describe("buckets", () => {
  test.each([
    [0, 0, 1],
    [50, 8192, 1],
    [100, 8192, 2],
    [1500, 8192, 16],
    [1_000_000, 8192 * 30_000, 16384],
    [1e9, 8192 * 3e7, 65536],
  ])("of %d rows in %d bytes: %d", (rows, bytes, buckets) => {
    expect(
      bucketCount(facts(columns, { rows, bytes }), facts(columns, { rows: 0, bytes: 0 })),
    ).toBe(buckets);
  });

  test("are ranges of a key of one fixed-length column, and hashed for others", () => {
    expect(planOverlap(pair())).toMatchObject({
      ranges: { boundaries: expect.any(String), is_integer: true },
    });
    const two = [column("id", "integer"), column("v", "integer")];
    const keys = [{ primary: true, immediate: true, columns: ["id", "v"] }];
    const both = facts(two, { keys });
    expect(planOverlap(pair({ local: both, peer: both }))).toMatchObject({
      ranges: null,
    });
    const text = facts([column("id", "text")]);
    const plan = planOverlap(pair({ local: text, peer: text }));
    expect(plan).toMatchObject({ ranges: null, keys: keysOfOne("text") });
    expect(plan.hash_bucket).toMatch(/^\(hash_record_extended\(row\(t\."id"\), \d+\) & 511\)$/);
  });

  test("of a small table are one, and nothing is sampled", () => {
    const small = facts(columns, { rows: 10, bytes: 8192 });
    expect(planOverlap(pair({ local: small, peer: small }))).toMatchObject({
      ranges: { boundaries: null },
      local: { sample: null },
    });
  });
});

describe("digests", () => {
  const bucketsOf = (c: ColumnFacts, encoding = "UTF8") =>
    planOverlap(pair({ local: facts([...columns, c]), peer: facts([...columns, c], { encoding }) }))
      .local;

  test("take columns in the order of their names, whatever their order is", () => {
    const reversed = facts([...columns].reverse());
    expect(planOverlap(pair({ peer: reversed })).peer).toEqual(planOverlap(pair()).peer);
  });

  test("leave generated columns out", () => {
    expect(
      bucketsOf(column("made", "integer", { generated: true })).buckets.join(""),
    ).not.toContain("made");
  });

  test("convert text where the encodings differ", () => {
    expect(bucketsOf(column("w", "text")).buckets.join("")).not.toContain("convert_to");
    expect(bucketsOf(column("w", "text"), "LATIN1").buckets.join("")).toContain(
      `convert_to(t."w"::text, 'UTF8')`,
    );
  });

  test("take what is no scalar on either side as text on both", () => {
    const local = facts([...columns, column("e", "public.e", { kind: "container" })]);
    const peer = facts([...columns, column("e", "public.e", { kind: "other" })]);
    const plan = planOverlap(pair({ local, peer }));
    for (const side of [plan.local, plan.peer])
      expect(side.look.join("")).toContain(
        `(case when num_nulls(t."e") = 0 then concat(t."e") end) collate "C"`,
      );
  });

  test("need an exact look only where equal values have different spellings", () => {
    expect(planOverlap(pair()).spellings).toBe(false);
    const numeric = facts([...columns, column("n", "numeric")]);
    expect(planOverlap(pair({ local: numeric, peer: numeric })).spellings).toBe(true);
  });
});

describe("keys", () => {
  test("are those of the table, else of the peer's, else what the caller names", () => {
    expect(planOverlap(pair()).key).toEqual(["id"]);
    const keyless = facts(columns, { keys: [] });
    const plan = planOverlap(pair({ local: keyless }));
    expect(plan).toMatchObject({
      key: ["id"],
      local: { check: expect.stringContaining('"id" is null') },
      peer: { check: null },
    });
    expect(planOverlap(pair({ key: ["v"] })).key).toEqual(["v"]);
    expect(refusal({ local: keyless, peer: keyless })).toMatchObject({
      sqlstate: "55000",
      hint: expect.stringContaining(`{"public.t": ["column"]}`),
    });
    expect(refusal({ key: ["absent"] })).toMatchObject({ sqlstate: "42703" });
  });

  test("are cast to the type that the facts say, which has no length", () => {
    const text = facts([column("id", "bpchar")]);
    expect(planOverlap(pair({ local: text, peer: text })).keys).toBe(keysOfOne("bpchar"));
  });

  test("that are no scalars are compared as text", () => {
    const odd = facts([column("id", "public.color", { kind: "other" })]);
    expect(planOverlap(pair({ local: odd, peer: odd })).keys).toBe(keysOfOne("text"));
  });
});

test("names are quoted wherever they stand", () => {
  const name = 'a"b; drop table x --';
  const odd = facts([column(name, "integer")], {
    keys: [{ primary: true, immediate: true, columns: [name] }],
  });
  const plan = planOverlap(pair({ local: odd, peer: odd }));
  for (const text of [
    plan.local.buckets,
    plan.local.rows,
    plan.local.look,
    [plan.local.sample ?? ""],
  ]) {
    expect(text.join("")).toContain('t."a""b; drop table x --"');
    expect(text.join("").replaceAll('"a""b; drop table x --"', "")).not.toContain("drop table");
  }
});
