import { describe, expect, test } from "vitest";
import { type MergePair, setMergePair } from "../../support/merge-pair.ts";

/* Two merges of the same rows at the same time: what one has brought, the other finds. */

let pair: MergePair;
setMergePair("merge-together", (p) => {
  pair = p;
});

const nRows = 8000;
const duplicates = async () =>
  (await Promise.all([pair.a.log(), pair.b.log()])).join("").split("duplicate key value").length -
  1;

describe.each(["a", "b"] as const)("rows that only %s has", (from) => {
  test.each([
    ["a key", "create table t (id int primary key, v text)"],
    ["a key and a unique column", "create table t (id int primary key, v text unique)"],
  ])("and that have %s come once, with few errors in the log", async (_, table) => {
    await pair.both(table);
    await pair[from].query(`insert into t select g, 'v' || g from generate_series(1, ${nRows}) g`);
    const before = await duplicates();
    const merges = await Promise.all([pair.merge(), pair.merge(), pair.merge()]);
    for (const merge of merges) {
      expect(merge).toMatchObject({ error_message: null, status: "complete", rows_left: "0" });
    }
    expect(merges.reduce((sum, m) => sum + Number(m.rows_merged), 0)).toBe(nRows);
    for (const side of ["a", "b"] as const) {
      expect(await pair[side].query("select count(*)::int as n from t")).toEqual([{ n: nRows }]);
    }
    // one for each batch of two of them, which the log also says to be put off
    expect((await duplicates()) - before).toBeLessThan(40);
  });
});
