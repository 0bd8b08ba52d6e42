import { describe, expect, test } from "vitest";
import { type ApplyFacts, nextApplyAction } from "../../../plv8/apply/apply.ts";
import { type ApplyParams, sectionNames } from "../../../plv8/apply/apply-params.ts";
import { SteepError } from "../../../plv8/db/steep-error.ts";
import type { ApplyDone } from "../../../plv8/shared/action.ts";

const params: ApplyParams = {
  input_path: "/backups/one",
  parallel: 3,
  verify: true,
  sections: sectionNames,
  tables: null,
  truncate: false,
  no_owner: false,
  no_privileges: false,
  replicate: false,
};

/** No publication, no slot, no subscription. */
const nobody: ApplyFacts["replicated"] = {
  ...{ tables: null, publications: null, slots: null, subscriptions: null },
  ...{ unpublished: "public.t", without_insert: null, without_truncate: null },
};

/** Of a role that may do everything, in a database where nothing is in the way. */
const fine: ApplyFacts = {
  existing: null,
  existing_objects: null,
  missing: null,
  not_tables: null,
  not_insertable: null,
  row_security: null,
  not_truncatable: null,
  missing_sequences: null,
  not_settable: null,
  circle: null,
  has_triggers: false,
  may_skip_triggers: true,
  may_set_origin: true,
  publishes: false,
  replicated: nobody,
  role: '"Ann B"',
};

const dataOnly = { sections: ["data"] } as const;

function next(
  done: ApplyDone,
  facts: Partial<ApplyFacts> = {},
  changed: Partial<ApplyParams> = {},
) {
  return nextApplyAction(
    { done, params: { ...params, ...changed } as ApplyParams },
    { ...fine, ...facts },
  );
}

/** What the planner throws, as SQL would show it. */
function refusal(facts: Partial<ApplyFacts>, changed: Partial<ApplyParams> = dataOnly) {
  try {
    next("check_targets", facts, changed);
  } catch (e) {
    if (e instanceof SteepError) return e.data;
    throw e;
  }
  throw new Error("the planner did not refuse");
}

function warnings(facts: Partial<ApplyFacts>, changed: Partial<ApplyParams> = dataOnly) {
  const action = next("check_targets", facts, changed);
  if (action.kind !== "start_appliers") throw new Error(`${action.kind} came instead`);
  return action.warnings;
}

function wholeJob(changed: Partial<ApplyParams> = {}): string[] {
  const seen: string[] = [];
  let done: ApplyDone = null;
  for (;;) {
    const action = next(done, {}, changed);
    seen.push(action.kind);
    if (action.kind === "complete") return seen;
    done = action.kind;
  }
}

describe("the order of actions", () => {
  test.each([
    [null, "open_archive", "planning"],
    ["open_archive", "verify", "planning"],
    ["verify", "check_targets", "planning"],
    ["check_targets", "start_appliers", "planning"],
    ["start_appliers", "pre_data", "schema"],
    ["pre_data", "truncate", "data"],
    ["truncate", "load", "data"],
    ["load", "set_sequences", "sequences"],
    ["set_sequences", "post_data", "indexes"],
    ["post_data", "check_constraints", "finalizing"],
    ["check_constraints", "analyze", "finalizing"],
    ["analyze", "close_plan", "finalizing"],
    ["close_plan", "complete", "complete"],
  ] as const)("after %s comes %s, in phase %s", (done, kind, phase) => {
    expect(next(done)).toMatchObject({ kind, phase });
  });

  test.each([
    ["everything", {}],
    ["data into existing tables", { sections: ["data"], truncate: true }],
    ["the schema", { sections: ["pre-data", "post-data"] }],
  ] as const)("a job of %s goes through every action once and then is complete", (_, changed) => {
    const seen = wholeJob(changed as Partial<ApplyParams>);
    expect(new Set(seen).size).toBe(seen.length);
    expect(seen.slice(0, 4)).toEqual(["open_archive", "verify", "check_targets", "start_appliers"]);
    expect(seen.at(-1)).toBe("complete");
    expect(seen).toHaveLength(13);
  });

  test("nothing is written anywhere before all of it is verified", () => {
    const seen = wholeJob();
    for (const kind of ["start_appliers", "pre_data", "truncate", "load"])
      expect(seen.indexOf(kind)).toBeGreaterThan(seen.indexOf("verify"));
  });

  test("without verify the files are not read twice, and the rest is as before", () => {
    expect(wholeJob({ verify: false })).toEqual(wholeJob().filter((kind) => kind !== "verify"));
  });

  test("foreign keys are checked after the load, and the plan closes last", () => {
    const seen = wholeJob({ ...dataOnly });
    expect(seen.indexOf("check_constraints")).toBeGreaterThan(seen.indexOf("load"));
    expect(seen.slice(-2)).toEqual(["close_plan", "complete"]);
  });

  test("nothing comes after complete", () => {
    // @ts-expect-error a coordinator cannot have done what ends the job
    expect(next("complete")).toBeUndefined();
  });

  test("an action is data: its JSON holds all of it", () => {
    for (const done of [null, "open_archive", "check_targets", "post_data"] as const) {
      const action = next(done, { publishes: true, may_set_origin: false });
      expect(JSON.parse(JSON.stringify(action))).toEqual(action);
    }
  });
});

describe("what the archive is opened with", () => {
  test("is what the job was asked for", () => {
    expect(next(null)).toEqual({
      kind: "open_archive",
      phase: "planning",
      path: "/backups/one",
      pre_data: "yes",
      data: "yes",
      post_data: "yes",
      truncate: "no",
      no_owner: "no",
      no_privileges: "no",
      tables: null,
    });
    const changed = {
      sections: ["data"],
      tables: ["a.b"],
      truncate: true,
      no_owner: true,
      no_privileges: true,
    } as const;
    expect(next(null, {}, changed)).toMatchObject({
      pre_data: "no",
      data: "yes",
      post_data: "no",
      truncate: "yes",
      no_owner: "yes",
      no_privileges: "yes",
      tables: ["a.b"],
    });
  });

  test("is no TRUNCATE of tables that the archive makes itself", () => {
    expect(next(null, {}, { truncate: true })).toMatchObject({ truncate: "no" });
  });

  test("workers are as many as were asked for", () => {
    expect(next("check_targets", {}, { parallel: 17 })).toMatchObject({ parallel: 17 });
  });
});

describe("into an empty database", () => {
  test("what exists already is refused with its names", () => {
    expect(refusal({ existing: "public.a, public.b" }, {})).toMatchObject({
      sqlstate: "42P07",
      detail: "public.a, public.b",
      hint: expect.stringContaining("sections => '{data}'"),
    });
  });

  test("what the archive will make need not be there yet, nor be the role's", () => {
    const later = {
      missing: "public.a",
      not_insertable: "public.a",
      missing_sequences: "public.s",
      not_settable: "public.s",
      circle: "public.a, public.b",
      may_skip_triggers: false,
    };
    expect(next("check_targets", later)).toEqual({
      kind: "start_appliers",
      phase: "planning",
      parallel: 3,
      replicate: "no",
    });
  });
});

test("large objects that are there are in the way, unless they are to be replaced", () => {
  const facts = { existing_objects: "16400, 16401" };
  expect(refusal(facts, {})).toMatchObject({ sqlstate: "42710", detail: "16400, 16401" });
  expect(refusal(facts, { sections: ["data"] }).hint).toContain("truncate => true");
  expect(refusal(facts, { truncate: true }).hint).not.toContain("truncate");
  const replacing = { sections: ["data"], truncate: true } as const;
  expect(next("check_targets", facts, replacing).kind).toBe("start_appliers");
});

describe("into existing tables", () => {
  test.each([
    ["missing", "42P01", "do not exist", "pre-data"],
    ["not_tables", "42809", "only tables", "Rename"],
    ["not_insertable", "42501", "permission denied to load", 'GRANT INSERT ON them TO "Ann B"'],
    ["row_security", "0A000", "row security applies", 'BYPASSRLS, instead of "Ann B"'],
    ["missing_sequences", "42P01", "sequences to be set do not exist", "pre-data"],
  ] as const)("%s are refused, with every name", (fact, sqlstate, message, hint) => {
    expect(refusal({ [fact]: "public.a, public.b" })).toEqual({
      sqlstate,
      message: expect.stringContaining(message),
      detail: "public.a, public.b",
      hint: expect.stringContaining(hint),
    });
  });

  test("the right to truncate is needed by who asked for it only", () => {
    const facts = { not_truncatable: "public.a" };
    expect(next("check_targets", facts, dataOnly).kind).toBe("start_appliers");
    expect(refusal(facts, { ...dataOnly, truncate: true })).toMatchObject({
      sqlstate: "42501",
      detail: "public.a",
      hint: expect.stringContaining('GRANT TRUNCATE ON them TO "Ann B"'),
    });
  });

  test("a circle of foreign keys needs the right to load without them, and the hint is its grant", () => {
    const facts = { circle: "public.a, public.b" };
    expect(next("check_targets", facts, dataOnly).kind).toBe("start_appliers");
    expect(refusal({ ...facts, may_skip_triggers: false })).toMatchObject({
      sqlstate: "42501",
      detail: "public.a, public.b",
      hint: expect.stringContaining('GRANT SET ON PARAMETER session_replication_role TO "Ann B"'),
    });
  });

  test("what is there already is no obstacle", () => {
    expect(next("check_targets", { existing: "public.a" }, dataOnly).kind).toBe("start_appliers");
  });

  test("what is missing is told before which rights are", () => {
    expect(refusal({ missing: "public.a", not_insertable: "public.b" }).sqlstate).toBe("42P01");
  });

  test("the schema alone asks nothing of the tables", () => {
    const facts = { missing: "public.a", not_insertable: "public.a" };
    expect(next("check_targets", facts, { sections: ["post-data"] }).kind).toBe("start_appliers");
  });
});

describe("what a job goes on without", () => {
  test("is nothing where the role has every right", () => {
    expect(warnings({ has_triggers: true, publishes: true })).toBeUndefined();
    expect(next("check_targets", {}, dataOnly)).not.toHaveProperty("warnings");
  });

  test("are sequences that it may not set", () => {
    expect(warnings({ not_settable: "public.s" })).toEqual([
      expect.stringMatching(/GRANT UPDATE ON SEQUENCE name TO "Ann B"\): public\.s$/),
    ]);
  });

  test("is the right to keep triggers from firing, where there are any", () => {
    expect(warnings({ may_skip_triggers: false })).toBeUndefined();
    expect(warnings({ may_skip_triggers: false, has_triggers: true })).toEqual([
      expect.stringContaining('GRANT SET ON PARAMETER session_replication_role TO "Ann B"'),
    ]);
  });

  test.each([[dataOnly], [{ sections: sectionNames }]])(
    "is the right to keep rows from subscribers, where this node publishes: %j",
    (changed) => {
      expect(warnings({ may_set_origin: false }, changed)).toBeUndefined();
      expect(warnings({ may_set_origin: false, publishes: true }, changed)).toEqual([
        expect.stringContaining('pg_replication_origin_session_setup TO "Ann B"'),
      ]);
    },
  );

  test("is told all at once", () => {
    expect(
      warnings({
        not_settable: "public.s",
        has_triggers: true,
        may_skip_triggers: false,
        publishes: true,
        may_set_origin: false,
      }),
    ).toHaveLength(3);
  });
});

describe("on a node that replicates", () => {
  const pair = {
    ...nobody,
    ...{ tables: "public.t", publications: "p", slots: "to_b", unpublished: null },
    ...{ subscriptions: "from_b" },
  };
  const of = (replicated: Partial<ApplyFacts["replicated"]>) => ({
    replicated: { ...pair, ...replicated },
  });

  test("a load names what does not get its rows", () => {
    expect(warnings(of({}))?.join()).toMatch(
      /replicate => true.*tables public.t; publications p; slots to_b; subscriptions from_b$/,
    );
  });

  test("a publication without a slot has nobody to miss the rows", () => {
    expect(warnings(of({ slots: null, subscriptions: null }))).toBeUndefined();
  });

  test("a subscription alone brings changes to rows that its publisher may not have", () => {
    const replicated = of({ publications: null });
    expect(warnings(replicated)?.join()).toMatch(/^subscriptions bring.*subscriptions from_b$/);
    expect(warnings({ ...replicated, may_set_origin: false })).toHaveLength(1);
  });

  test("a job without rows concerns nobody", () => {
    expect(warnings(of({}), { sections: ["pre-data", "post-data"] })).toBeUndefined();
  });

  test("with replicate, what is asked for and does not happen is named", () => {
    const replicate = { ...dataOnly, replicate: true, truncate: true };
    expect(warnings(of({}), replicate)).toBeUndefined();
    expect(warnings(of({ unpublished: "public.u" }), replicate)?.join()).toContain("public.u");
    expect(warnings(of({ without_insert: "p", without_truncate: "q" }), replicate)?.join()).toMatch(
      /no loaded rows: p.*TRUNCATE.*: q$/,
    );
    expect(warnings(of({ without_truncate: "q" }), { ...replicate, truncate: false })).toBe(
      undefined,
    );
  });

  test("appliers are told whether rows are sent", () => {
    expect(next("check_targets", of({}), dataOnly)).toMatchObject({ replicate: "no" });
    expect(next("check_targets", of({}), { ...dataOnly, replicate: true })).toMatchObject({
      replicate: "yes",
    });
  });
});
