import { describe, expect, test } from "vitest";
import { SteepError } from "../../../plv8/db/steep-error.ts";
import type { SnapshotDone } from "../../../plv8/shared/action.ts";
import { nextSnapshotAction, type SnapshotFacts } from "../../../plv8/snapshot/snapshot.ts";
import type { SnapshotParams } from "../../../plv8/snapshot/snapshot-params.ts";

const params: SnapshotParams = {
  output_path: "/backups/one",
  compression: "zstd",
  parallel: 3,
  level: null,
  tables: null,
  schemas: null,
  slot_name: null,
  publications: null,
  node_id: "node_a",
  large_objects: "refuse",
  exclude_tables: null,
  exclude: null,
};

function next(
  done: SnapshotDone,
  facts: SnapshotFacts = {},
  changed: Partial<SnapshotParams> = {},
) {
  return nextSnapshotAction({ done, params: { ...params, ...changed } as SnapshotParams }, facts);
}

/** What the planner throws, as SQL would show it. */
function refusal(done: SnapshotDone, facts: SnapshotFacts, changed: Partial<SnapshotParams> = {}) {
  try {
    next(done, facts, changed);
  } catch (e) {
    if (e instanceof SteepError) return e.data;
    throw e;
  }
  throw new Error("the planner did not refuse");
}

const roomForLocks = {
  relations_to_lock: "5",
  lock_table_size: "6400",
  max_locks_per_transaction: "64",
};

describe("the order of actions", () => {
  test.each([
    [null, "create_directory", "planning"],
    ["create_directory", "pin", "planning"],
    ["pin", "plan", "planning"],
    ["plan", "dump_schema", "schema"],
    ["dump_schema", "lock", "schema"],
    ["lock", "copy", "data"],
    ["copy", "finish", "finalizing"],
    ["finish", "complete", "complete"],
  ] as const)("after %s comes %s, in phase %s", (done, kind, phase) => {
    expect(next(done, roomForLocks)).toMatchObject({ kind, phase });
  });

  test("a job goes through every action once and then is complete", () => {
    const seen: string[] = [];
    let done: SnapshotDone = null;
    for (;;) {
      const action = next(done, roomForLocks);
      seen.push(action.kind);
      if (action.kind === "complete") break;
      done = action.kind;
    }
    expect(seen).toEqual([
      "create_directory",
      "pin",
      "plan",
      "dump_schema",
      "lock",
      "copy",
      "finish",
      "complete",
    ]);
  });

  test("nothing comes after complete", () => {
    // @ts-expect-error a coordinator cannot have done what ends the job
    expect(next("complete")).toBeUndefined();
  });

  test("actions carry what the job was asked for", () => {
    expect(next(null)).toMatchObject({ path: "/backups/one" });
    expect(next("lock")).toMatchObject({ parallel: 3 });
    expect(next("pin", {}, { compression: "lz4", level: 9 })).toMatchObject({
      compression: "lz4",
      level: 9,
      node_id: "node_a",
    });
  });

  test("an action is data: its JSON holds all of it", () => {
    for (const done of [null, "create_directory", "pin", "plan", "lock", "copy"] as const) {
      const action = next(done, roomForLocks);
      expect(JSON.parse(JSON.stringify(action))).toEqual(action);
    }
  });
});

describe("what may not be read", () => {
  const unreadable = 'no SELECT on table public.a, no SELECT on sequence public."B"';

  test("is refused before anything is written, with every name", () => {
    expect(refusal(null, { unreadable })).toEqual({
      sqlstate: "42501",
      message: expect.stringContaining("permission denied"),
      detail: unreadable,
      hint: expect.stringContaining("Grant SELECT"),
    });
  });

  test("is told before large objects are", () => {
    expect(refusal(null, { unreadable, large_objects: "3" }).sqlstate).toBe("42501");
  });

  test.each([null, ""])("is nothing when the list is %j", (none) => {
    expect(next(null, { unreadable: none, large_objects: "0" }).kind).toBe("create_directory");
  });
});

describe("large objects", () => {
  test("are refused with their number and the way out", () => {
    expect(refusal(null, { large_objects: "12345678901" })).toEqual({
      sqlstate: "0A000",
      message: expect.stringContaining("12345678901 large objects"),
      hint: expect.stringContaining("large_objects => 'skip'"),
    });
  });

  test("are left out when the caller says so", () => {
    const action = next(null, { large_objects: "5" }, { large_objects: "skip" });
    expect(action.kind).toBe("create_directory");
  });

  test("are no obstacle when there are none", () => {
    expect(next(null, { large_objects: "0" }).kind).toBe("create_directory");
  });
});

describe("the lock table", () => {
  test("that holds exactly what is needed is enough", () => {
    expect(next("plan", { ...roomForLocks, relations_to_lock: "5900" }).kind).toBe("dump_schema");
  });

  test("that lacks one lock is refused, with its size and what to set", () => {
    expect(refusal("plan", { ...roomForLocks, relations_to_lock: "5901" })).toEqual({
      sqlstate: "53400",
      message: "the lock table is too small for 5901 tables, sequences and views",
      detail: "It holds 6400 locks; the snapshot needs 6401.",
      hint: "Set max_locks_per_transaction to at least 65 and restart the server.",
    });
  });

  test.each([6_000, 10_000, 40_000, 1_000_000])(
    "for %i relations: the named value suffices",
    (n) => {
      const { hint } = refusal("plan", { ...roomForLocks, relations_to_lock: `${n}` });
      const value = Number(/at least (\d+)/.exec(hint ?? "")?.[1]);
      const perUnit = 6400 / 64;
      const set = {
        relations_to_lock: `${n}`,
        lock_table_size: String(value * perUnit),
        max_locks_per_transaction: String(value),
      };
      expect(next("plan", set).kind).toBe("dump_schema");
      expect((value - 1) * perUnit).toBeLessThan(n + 500);
    },
  );
});

describe("a table that changed after the snapshot was taken", () => {
  test.each(["dump_schema", "lock"] as const)("noticed after %s: take another", (done) => {
    for (let attempts = 1; attempts < 10; attempts++) {
      expect(next(done, { changed: "table public.t was changed", attempts })).toEqual({
        kind: "pin",
        phase: "planning",
        slot_name: null,
      });
    }
  });

  test.each(["dump_schema", "lock"] as const)("again and again after %s: give up", (done) => {
    expect(refusal(done, { changed: "table public.t was changed", attempts: 10 })).toEqual({
      sqlstate: "40001",
      message: expect.stringContaining("10 attempts"),
      detail: "table public.t was changed",
      hint: expect.stringContaining("Retry"),
    });
  });
});

describe("free space", () => {
  const space = { bytes_on_disk: String(100 * 2 ** 20), bytes_free: String(3 * 2 ** 20) };

  test("what cannot fit by any account is refused with the numbers", () => {
    const refused = () => next("lock", space, { compression: "none" });
    expect(refused).toThrow("the snapshot cannot fit");
    try {
      refused();
    } catch (e) {
      expect((e as SteepError).data).toMatchObject({
        sqlstate: "53100",
        detail: expect.stringMatching(/100 MB, .* 40 MB .* 3072 kB are free/),
      });
    }
  });

  test("what may fit is tried", () => {
    expect(next("lock", space, { compression: "zstd" })).toMatchObject({ kind: "copy" });
  });
});

test("what refers to tables that are left out, and patterns without any, are warnings", () => {
  expect(next(null)).not.toHaveProperty("warnings");
  const facts = { keys_to_excluded: "foreign key f", views_of_excluded: "view v" };
  expect(next(null, { ...facts, unused_patterns: "x.*" })).toMatchObject({
    warnings: [
      expect.stringMatching(/: foreign key f, view v$/),
      expect.stringMatching(/: x\.\*$/),
    ],
  });
});
