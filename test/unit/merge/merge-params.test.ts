import { describe, expect, test } from "vitest";
import type { Json } from "../../../plv8/db/sql.ts";
import { SteepError } from "../../../plv8/db/steep-error.ts";
import { mergeParams, queuedMergeParams } from "../../../plv8/merge/merge-params.ts";

type Raw = { readonly [name: string]: Json };

/** As start_merge sends them when only the peer and the tables are given. */
const asQueued = {
  strategy: "prefer-local",
  dry_run: false,
  last_modified_column: null,
  local_only: "push",
  remote_only: "pull",
  backlog: "refuse",
  other_subscribers: "refuse",
  overlap_id: null,
};

function refusal(changes: Raw) {
  try {
    mergeParams({ ...asQueued, ...changes });
  } catch (e) {
    if (e instanceof SteepError) return e.data;
    throw e;
  }
  throw new Error(`accepted ${JSON.stringify(changes)}`);
}

const defaultActions = {
  local_only: "insert_remote",
  remote_only: "insert_local",
  conflict: "update_remote",
  unsettled: "again",
};

test("defaults pass unchanged, with what they mean", () => {
  expect(mergeParams(asQueued)).toEqual({ ...asQueued, actions: defaultActions });
});

test.each([
  [{ local_only: "delete" }, { local_only: "delete_local" }],
  [{ local_only: "keep" }, { local_only: "keep" }],
  [{ remote_only: "delete" }, { remote_only: "delete_remote" }],
  [{ remote_only: "keep" }, { remote_only: "keep" }],
  [{ strategy: "prefer-remote" }, { conflict: "update_local" }],
  [{ strategy: "last-modified" }, { conflict: "stamps" }],
  [{ strategy: "manual" }, { conflict: "manual" }],
])("%j means %j", (changes, actions) => {
  expect(mergeParams({ ...asQueued, ...changes }).actions).toEqual({
    ...defaultActions,
    ...actions,
  });
});

describe("a job's actions", () => {
  test("are what its other arguments say", () => {
    const params = mergeParams(asQueued);
    // jsonb has its own order of members
    const { unsettled, ...others } = params.actions;
    expect(queuedMergeParams({ ...params, actions: { unsettled, ...others } })).toEqual(params);
  });

  test("may be missing: they follow", () => {
    for (const raw of [asQueued, { ...asQueued, actions: null }])
      expect(queuedMergeParams(raw)).toEqual(mergeParams(asQueued));
  });

  test.each([
    ["are no object", ["insert_remote"]],
    ["are text", "again"],
    ["lack one", { local_only: "insert_remote" }],
    ["say something else", { ...defaultActions, conflict: "update_local" }],
    ["say more", { ...defaultActions, other: "keep" }],
  ])("that %s are refused", (_, actions) => {
    expect(() => queuedMergeParams({ ...asQueued, actions } as Raw)).toThrow(
      "actions must be what strategy, local_only and remote_only say",
    );
  });
});

test("what was checked once passes again unchanged", () => {
  const once = mergeParams({
    strategy: "last-modified",
    dry_run: true,
    last_modified_column: "at",
    local_only: "delete",
    remote_only: "keep",
    backlog: "discard",
    other_subscribers: "ignore",
    overlap_id: null,
  });
  expect(mergeParams(JSON.parse(JSON.stringify(once)))).toEqual(once);
});

test("members that are not for TypeScript are dropped", () => {
  expect(mergeParams({ ...asQueued, peer: "b", tables: ["public.t"], evil: "x" })).toEqual(
    mergeParams(asQueued),
  );
});

const choices = {
  strategy: ["prefer-local", "prefer-remote", "last-modified", "manual"],
  local_only: ["push", "keep", "delete"],
  remote_only: ["pull", "keep", "delete"],
  backlog: ["refuse", "discard"],
  other_subscribers: ["refuse", "ignore"],
} as const;

describe.each(Object.entries(choices))("%s", (name, values) => {
  test.each(values)("may be %s", (value) => {
    expect(mergeParams({ ...asQueued, [name]: value })).toMatchObject({ [name]: value });
  });

  const others = Object.values(choices)
    .flat()
    .filter((value) => !(values as readonly string[]).includes(value));
  test.each([...new Set(others), "x", ` ${values[0]}`, values[0].toUpperCase(), "toString"])(
    "may not be %j, and the hint names those that there are",
    (value) => {
      expect(refusal({ [name]: value })).toEqual({
        sqlstate: "22023",
        message: `unknown ${name} "${value}"`,
        hint: `Use one of ${values.join(", ")}.`,
      });
    },
  );

  test.each([null, ""])("must not be %j", (value) => {
    expect(refusal({ [name]: value })).toMatchObject({
      sqlstate: "22023",
      message: `${name} must not be null or empty`,
    });
  });

  test.each([1, true, [values[0]], {}])("must be text, not %j", (value) => {
    expect(refusal({ [name]: value as Json })).toMatchObject({
      sqlstate: "22023",
      message: `${name} must be text`,
    });
  });

  // a choice that is left to chance might delete rows
  test("must be there", () => {
    const { [name as "strategy"]: _, ...rest } = asQueued;
    expect(() => mergeParams(rest)).toThrow(`${name} must not be null`);
  });
});

describe("dry_run", () => {
  test.each([true, false])("may be %j", (dry_run) => {
    expect(mergeParams({ ...asQueued, dry_run })).toMatchObject({ dry_run });
  });

  // C reads it as well: what is true for one must not be false for the other
  test.each([null, 0, 1, "true", "false", [], {}])("must be true or false, not %j", (dry_run) => {
    expect(refusal({ dry_run: dry_run as Json })).toMatchObject({
      sqlstate: "22023",
      message: "dry_run must be true or false",
    });
  });
});

describe("last_modified_column", () => {
  test("goes with strategy last-modified, which does without it, too", () => {
    const strategy = "last-modified";
    for (const last_modified_column of ["at", 'a"b', null])
      expect(mergeParams({ ...asQueued, strategy, last_modified_column })).toMatchObject({
        last_modified_column,
      });
  });

  test.each(choices.strategy.filter((s) => s !== "last-modified"))(
    "is refused with strategy %s, which would not look at it",
    (strategy) => {
      expect(refusal({ strategy, last_modified_column: "at" })).toMatchObject({
        sqlstate: "22023",
        message: "last_modified_column needs strategy last-modified",
      });
    },
  );

  test.each([1, true, ["at"], {}])("must be text, not %j", (last_modified_column) => {
    expect(refusal({ strategy: "last-modified", last_modified_column } as Raw)).toMatchObject({
      sqlstate: "22023",
      message: "last_modified_column must be text",
    });
  });
});

test("no kind of garbage gives anything but an error with a SQLSTATE", () => {
  const garbage: Json[] = [0, -1, 1e300, true, false, null, "", "x", [], [null], {}, { a: 1 }];
  let refused = 0;
  for (const name of Object.keys(asQueued)) {
    for (const value of garbage) {
      try {
        mergeParams({ ...asQueued, [name]: value });
      } catch (e) {
        expect(e, `${name} = ${JSON.stringify(value)}`).toBeInstanceOf(SteepError);
        refused++;
      }
    }
  }
  // all but true and false for dry_run, null for last_modified_column and overlap_id, and any text for that
  expect(refused).toBe(Object.keys(asQueued).length * garbage.length - 6);
});
