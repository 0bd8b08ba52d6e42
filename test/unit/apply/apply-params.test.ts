import { describe, expect, test } from "vitest";
import { applyParams, sectionNames } from "../../../plv8/apply/apply-params.ts";
import type { Json } from "../../../plv8/db/sql.ts";
import { SteepError } from "../../../plv8/db/steep-error.ts";

type Raw = { readonly [name: string]: Json };

/** As the SQL function sends them when only the path is given. */
const asQueued = {
  input_path: "/backups/one",
  parallel: 4,
  verify: true,
  sections: ["pre-data", "data", "post-data"],
  tables: null,
  truncate: false,
  no_owner: false,
  no_privileges: false,
  replicate: false,
};

function refusal(changes: Raw) {
  try {
    applyParams({ ...asQueued, ...changes });
  } catch (e) {
    if (e instanceof SteepError) return e.data;
    throw e;
  }
  throw new Error(`accepted ${JSON.stringify(changes)}`);
}

test("defaults pass unchanged", () => {
  expect(applyParams(asQueued)).toEqual(asQueued);
});

test("what was checked once passes again unchanged", () => {
  const once = applyParams({
    ...asQueued,
    tables: ['public."A"'],
    sections: ["data"],
    truncate: true,
  });
  expect(applyParams(JSON.parse(JSON.stringify(once)))).toEqual(once);
});

test("members that nobody knows are dropped", () => {
  expect(applyParams({ ...asQueued, evil: "x" })).not.toHaveProperty("evil");
});

describe("input_path", () => {
  test.each([null, ""])("must not be %j", (input_path) => {
    expect(refusal({ input_path })).toMatchObject({
      sqlstate: "22023",
      message: "input_path must not be null or empty",
    });
  });

  test("must be there", () => {
    const { input_path: _, ...rest } = asQueued;
    expect(() => applyParams(rest)).toThrow("input_path");
  });

  test("is kept byte for byte: C decides whether it may be used", () => {
    const input_path = " /back ups/ä\n🐘/../x ";
    expect(applyParams({ ...asQueued, input_path })).toMatchObject({ input_path });
  });
});

describe("parallel", () => {
  test.each([1, 2, 64])("may be %i", (parallel) => {
    expect(applyParams({ ...asQueued, parallel })).toMatchObject({ parallel });
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

describe.each(["verify", "truncate", "no_owner", "no_privileges"])("%s", (name) => {
  test.each([true, false])("may be %j", (value) => {
    expect(applyParams({ ...asQueued, [name]: value })).toMatchObject({ [name]: value });
  });

  // a flag that is left to chance might skip a check, or empty a table
  test.each([null, 0, 1, "true", "yes", [], {}])("must be true or false, not %j", (value) => {
    expect(refusal({ [name]: value })).toMatchObject({
      sqlstate: "22023",
      message: `${name} must be true or false`,
    });
  });

  test("must be there", () => {
    const { [name as "verify"]: _, ...rest } = asQueued;
    expect(() => applyParams(rest)).toThrow(name);
  });
});

test("replicate is false for jobs of before there was the choice, and needs rows", () => {
  const { replicate: _, ...older } = asQueued;
  expect(applyParams(older).replicate).toBe(false);
  expect(applyParams({ ...asQueued, replicate: true }).replicate).toBe(true);
  expect(refusal({ replicate: "yes" })).toMatchObject({
    message: "replicate must be true or false",
  });
  expect(refusal({ replicate: true, sections: ["post-data"] })).toMatchObject({
    sqlstate: "22023",
    message: "replicate needs section data",
  });
});

describe("sections", () => {
  test.each(sectionNames)("may be %s alone", (section) => {
    expect(applyParams({ ...asQueued, sections: [section] })).toMatchObject({
      sections: [section],
    });
  });

  test("may come in any order: the archive has its own", () => {
    const sections = ["post-data", "pre-data"];
    expect(applyParams({ ...asQueued, sections })).toMatchObject({ sections });
  });

  test("are all, when null or left out", () => {
    const { sections: _, ...rest } = asQueued;
    expect(applyParams({ ...asQueued, sections: null }).sections).toEqual(sectionNames);
    expect(applyParams(rest).sections).toEqual(sectionNames);
  });

  test.each(["Data", "data ", "predata", "pre_data", "schema", "toString", "__proto__"])(
    "may not be %j, and the hint names those that there are",
    (section) => {
      expect(refusal({ sections: ["data", section] })).toEqual({
        sqlstate: "22023",
        message: `unknown section "${section}"`,
        hint: "Use some of pre-data, data, post-data.",
      });
    },
  );

  test("must be at least one", () => {
    expect(refusal({ sections: [] })).toMatchObject({
      sqlstate: "22023",
      message: "sections must name at least one",
    });
  });

  test.each([[[null]], [[""]], [["data", null]], [[1]], [[["data"]]]])(
    "must not hold %j",
    (sections) => {
      expect(refusal({ sections: sections as Json })).toMatchObject({
        sqlstate: "22023",
        message: "sections must not contain null or empty names",
      });
    },
  );

  test.each(["data", 1, true, { 0: "data", length: 1 }])("must be a list, not %j", (sections) => {
    expect(refusal({ sections: sections as Json }).sqlstate).toBe("22023");
  });
});

describe("tables", () => {
  test("may name some, in any spelling", () => {
    const tables = ['public."a.b"', "x.y", '"y""z"."🐘"'];
    expect(applyParams({ ...asQueued, tables })).toMatchObject({ tables });
  });

  test("must name at least one, and says how to ask for all", () => {
    expect(refusal({ tables: [] })).toEqual({
      sqlstate: "22023",
      message: "tables must name at least one",
      hint: "Leave tables out for all.",
    });
  });

  test.each([[[null]], [[""]], [["a.b", null]], [[1]], [[["a.b"]]]])(
    "must not hold %j",
    (tables) => {
      expect(refusal({ tables: tables as Json })).toMatchObject({
        sqlstate: "22023",
        message: "tables must not contain null or empty names",
      });
    },
  );
});

describe("truncate", () => {
  test.each([[["pre-data"]], [["post-data"]], [["pre-data", "post-data"]]])(
    "is refused with sections %j: the tables would stay empty",
    (sections) => {
      expect(refusal({ truncate: true, sections })).toMatchObject({
        sqlstate: "22023",
        message: "truncate needs section data",
      });
    },
  );

  test.each([[["data"]], [["data", "post-data"]], [sectionNames]])(
    "goes with sections %j",
    (sections) => {
      expect(applyParams({ ...asQueued, truncate: true, sections })).toMatchObject({
        truncate: true,
      });
    },
  );
});

test("no kind of garbage gives anything but an error with a SQLSTATE", () => {
  const garbage: Json[] = [0, -1, 0.5, 1e300, true, false, "", "x", [], [null], [[]], {}, { a: 1 }];
  for (const name of Object.keys(asQueued)) {
    for (const value of garbage) {
      try {
        applyParams({ ...asQueued, [name]: value });
      } catch (e) {
        expect(e, `${name} = ${JSON.stringify(value)}`).toBeInstanceOf(SteepError);
      }
    }
  }
});
