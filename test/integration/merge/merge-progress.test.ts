import { expect, test } from "vitest";
import { startMerge } from "../../support/merge.ts";
import { type MergePair, setMergePair } from "../../support/merge-pair.ts";

/* How far a merge is, seen while it runs. */

let pair: MergePair;
setMergePair("merge-progress", (p) => {
  pair = p;
});

interface Progress {
  readonly status: string;
  readonly phase: string;
  readonly percent: number;
  readonly eta: number | null;
}

test("progress moves within one table, in comparing and in merging, and never goes back", async () => {
  await pair.b.query("create extension if not exists steep_repl cascade");
  await pair.both(
    `create table t (id int primary key, v text, w text);
     insert into t select g, repeat('x', 60), md5(g::text) from generate_series(1, 400000) g`,
  );
  await pair.both("vacuum analyze t");
  await pair.a.query("update t set v = 'a' where id % 20 = 0");
  const session = await pair.a.connect();
  const merge = await startMerge(pair.a, pair.b.uri());
  const seen: Progress[] = [];
  for (let over = false; !over; ) {
    const { rows } = await session.query<Progress>(
      `select status, phase, overall_percent::float8 as percent, eta_seconds::int as eta
       from steep_repl.merge_progress($1)`,
      [merge.merge_id],
    );
    const [now] = rows;
    if (!now) throw new Error("merge_progress answered no row");
    seen.push(now);
    over = !["pending", "running"].includes(now.status);
  }
  await session.end();
  expect(seen.at(-1)).toMatchObject({ status: "complete", phase: "complete", percent: 100 });
  const percents = seen.map((p) => p.percent);
  expect(percents).toEqual([...percents].sort((one, two) => one - two));
  for (const phase of ["comparing", "merging"]) {
    const within = seen.filter((p) => p.phase === phase);
    expect(new Set(within.map((p) => p.percent)).size, phase).toBeGreaterThan(3);
    expect(
      within.some((p) => p.eta !== null),
      phase,
    ).toBe(true);
  }
});
