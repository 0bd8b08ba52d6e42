import { describe, expect, test } from "vitest";
import { schemaDiff } from "../../../plv8/schema/schema-diff.ts";
import type {
  Cast,
  Column,
  Constraint,
  Inheritance,
  Outside,
  Partition,
  SchemaObject,
  Side,
  Table,
  Tie,
} from "../../../plv8/schema/schema-objects.ts";
import { comment, withheld } from "../../../plv8/schema/statements.ts";

const table: Table = {
  type: "table",
  name: "s.t",
  quoted: "s.t",
  definition: "TABLE",
  compared: "TABLE",
  facts: { schema: "s", persistence: "p", parent: null, owner: null },
};

const castOf = (from: string, is_string = false): Cast => ({
  ...{ from, type: from, is_string, is_enum: false, to: [], made_to: [] },
});

function column(name: string, facts: Partial<Column["facts"]> = {}): Column {
  const whole: Column["facts"] = {
    position: 1,
    type: "integer",
    base: "integer",
    collation: null,
    not_null: false,
    identity: "",
    generated: "",
    expression: null,
    default_error: null,
    sequence: null,
    sequence_type: null,
    sequence_of: null,
    is_sequence_shared: false,
    has_rights: false,
    owned_sequence: null,
    not_null_name: null,
    not_null_not_valid: false,
    not_null_no_inherit: false,
    not_null_inherited: false,
    cast: castOf("integer"),
    parents: [],
    ...facts,
  };
  const definition = JSON.stringify(whole);
  return { type: "column", name, quoted: name, definition, compared: definition, facts: whole };
}

function constraint(
  name: string,
  definition: string,
  kind: Constraint["facts"]["kind"] = "c",
): Constraint {
  return {
    ...{ type: "constraint", name, quoted: name, definition, compared: definition },
    facts: {
      ...{ statement: definition, kind, is_replica_identity: false },
      ...{ kept: null, is_part: false, is_same_part: false, part_kind: null, parents: [] },
    },
  };
}

const partition: Partition = {
  ...{ type: "partition", name: "s.t", quoted: "s.t", definition: "p", compared: "p" },
  facts: { parent: "s.p", bound: "DEFAULT" },
};

const inheritance: Inheritance = {
  ...{ type: "inheritance", name: "s.p", quoted: "s.p", definition: "p", compared: "p" },
};

const side = (
  objects: readonly SchemaObject[],
  version = 180000,
  ties: readonly Tie[] = [],
  outside: readonly Outside[] = [],
): Side => ({
  version,
  has_schema: true,
  objects: objects.length === 0 ? [] : [table, ...objects],
  ties,
  outside,
  lower: [],
  kin: [],
  lacks: [],
});

const suggestions = (
  local: readonly SchemaObject[],
  peer: readonly SchemaObject[],
  version?: number,
) => schemaDiff({ local: side(local), peer: side(peer, version) }).map((row) => row.suggested_sql);

describe("a comment", () => {
  test.each(["a\nb", "a\rb", "a\r\nb"])("of %j has no line that would run", (text) => {
    for (const line of comment(text).split(/[\r\n]/)) expect(line).toMatch(/^-- /);
  });

  test("holds a statement that would lose data, and why", () => {
    expect(withheld("drop table t;", "rows")).toBe("-- drop table t; -- rows");
  });
});

describe("schemaDiff", () => {
  test("finds no difference between equal sides", () => {
    expect(suggestions([column("a")], [column("a")])).toEqual([]);
  });

  test("goes by what is compared, not by how it is printed", () => {
    const here = constraint("c", "CHECK (a)");
    expect(suggestions([here], [{ ...here, definition: "CHECK ((a))" }])).toEqual([]);
  });

  test("puts what makes room first, then columns, then what is on them", () => {
    const rows = schemaDiff({
      local: side([
        column("a", { not_null: false }),
        column("b", { not_null: true }),
        constraint("fk", "f2", "f"),
        constraint("pk", "PRIMARY KEY (b)", "p"),
      ]),
      peer: side([
        column("a", { not_null: true }),
        column("b"),
        constraint("pk", "PRIMARY KEY (a)", "p"),
        constraint("old", "c"),
        constraint("old_fk", "f1", "f"),
      ]),
    });
    expect(rows.map((row) => row.object_name)).toEqual(["old_fk", "old", "a", "b", "pk", "fk"]);
  });

  test("replaces a generated column where the peer cannot alter its expression", () => {
    const generated = (expression: string) => column("g", { generated: "s", expression });
    const [before] = suggestions([generated("a + 1")], [generated("a")], 160000);
    expect(before).toBe(
      "alter table s.t drop column g, add column g integer generated always as (a + 1) stored;",
    );
    const [after] = suggestions([generated("a + 1")], [generated("a")], 170000);
    expect(after).toBe("alter table s.t alter column g set expression as (a + 1);");
  });

  test("keeps values that a generated column would replace", () => {
    const [sql] = suggestions([column("g", { generated: "s", expression: "a" })], [column("g")]);
    expect(sql).toMatch(/^-- alter table s\.t drop column g/);
  });

  const typed = (type: string, from: string, facts: Partial<Column["facts"]> = {}) =>
    column("v", { type, base: from, cast: { ...castOf(from, from === "text"), type }, ...facts });
  const price = typed("numeric(4,1)", "numeric");
  const exact = typed("numeric", "numeric");

  test("casts without a length, so that nothing is cut off silently", () => {
    const note = "-- spaces at the end of values may not be kept";
    const text = typed("text", "text");
    const [sql] = suggestions([typed("character varying(5)", "character varying")], [text]);
    expect(sql).toBe(
      `${note}\nalter table s.t alter column v type character varying(5) using v::character varying;`,
    );
    const domain = { type: "s.d", base: "s.d" };
    const [short] = suggestions([typed("character(5)", "bpchar", domain)], [text]);
    expect(short).toBe(`${note}\nalter table s.t alter column v type s.d using v::bpchar;`);
    const [same] = suggestions([typed("text", "text", domain)], [text]);
    expect(same).toBe("alter table s.t alter column v type s.d;");
  });

  test("keeps values that another type would round, with all that goes with the type", () => {
    const [sql] = suggestions([{ ...price, facts: { ...price.facts, not_null: true } }], [exact]);
    expect(sql).toBe(
      "-- alter table s.t alter column v type numeric(4,1), alter column v set not null; -- values could be rounded or cut off",
    );
    const check = constraint("c", "CHECK (v > 0)");
    const ties: readonly Tie[] = [["constraint", "c", "column", "v"]];
    const rows = schemaDiff({
      local: side([price, check], 180000, ties),
      peer: side([exact], 180000),
    });
    expect(rows[1]?.suggested_sql).toMatch(/^-- it needs column v, which is left as it is/);
  });

  test("says first why several statements are withheld", () => {
    const identity = { ...exact, facts: { ...exact.facts, identity: "d" } as const, compared: "i" };
    expect(suggestions([price], [identity])[0]).toMatch(
      /^-- values could be rounded or cut off\n-- alter table s\.t alter column v drop identity;\n-- alter table/,
    );
  });

  test("gives a generated column any type, but not one that is generated no longer", () => {
    const generated = { generated: "s", expression: "a" } as const;
    const from = { ...exact, facts: { ...exact.facts, ...generated }, compared: "from" };
    const to = { ...price, facts: { ...price.facts, ...generated } };
    expect(suggestions([to], [from])).toEqual([
      "alter table s.t alter column v type numeric(4,1);",
    ]);
    expect(suggestions([price], [from])[0]).not.toMatch(/^[^-]/m);
  });

  test("validates where only that is missing", () => {
    expect(
      suggestions([constraint("c", "CHECK (a)")], [constraint("c", "CHECK (a) NOT VALID")]),
    ).toEqual(["alter table s.t validate constraint c;"]);
  });

  test("drops a key first that has the name of another kind of constraint", () => {
    expect(
      suggestions(
        [constraint("x", "CHECK (a)"), constraint("z", "PRIMARY KEY (e)", "p")],
        [constraint("x", "PRIMARY KEY (a)", "p")],
      ),
    ).toEqual([
      "alter table s.t drop constraint x;",
      "alter table s.t add constraint z PRIMARY KEY (e);",
      "alter table s.t add constraint x CHECK (a);",
    ]);
  });

  test("renames a key, which others may refer to", () => {
    expect(
      suggestions(
        [constraint("x", "PRIMARY KEY (a)", "p")],
        [constraint("y", "PRIMARY KEY (a)", "p")],
      ),
    ).toEqual(["-- it is renamed to x, see there", "alter table s.t rename constraint y to x;"]);
  });

  test("renames a constraint before another one gets its name", () => {
    expect(
      suggestions(
        [constraint("z", "UNIQUE (b)", "u"), constraint("x", "CHECK ((a > 1))", "c")],
        [constraint("z", "CHECK ((a > 1))", "c")],
      ),
    ).toEqual([
      "-- it is renamed to x, see there",
      "alter table s.t rename constraint z to x;",
      "alter table s.t add constraint z UNIQUE (b);",
    ]);
  });

  test("does not touch keys of a partition that is to be detached first", () => {
    const [detach, key] = suggestions([constraint("pk", "PRIMARY KEY (a)", "p")], [partition]);
    expect(detach).toMatch(/compare again\nalter table s\.p detach partition s\.t;$/);
    expect(key).toMatch(/^-- /);
  });

  test("leaves the changes of inherited columns to the parent", () => {
    const [sql] = suggestions(
      [inheritance, column("a", { type: "bigint", base: "bigint", parents: ["s.p"] })],
      [inheritance, column("a", { parents: ["s.p"] })],
    );
    expect(sql).toBe("-- change column a of the parent of s.t");
  });

  describe("where something stands in the way", () => {
    const text = column("a", { type: "text", base: "text", cast: castOf("text", true) });
    const number = column("a", { cast: castOf("integer") });
    const spelling =
      "-- the spelling of values is not kept, such as zeros and spaces before a number";
    const check = constraint("c", "CHECK ((a > 1))");
    const onColumn: Tie = ["constraint", "c", "column", "a"];
    const run = (
      local: readonly SchemaObject[],
      peer: readonly SchemaObject[],
      ties: readonly Tie[],
      outside: readonly Outside[] = [],
    ) =>
      schemaDiff({
        local: side(local, 180000, ties),
        peer: side(peer, 180000, ties, outside),
      }).map((row) => row.suggested_sql);

    test("takes it away before, and makes it again", () => {
      expect(run([number, check], [text, check], [onColumn])).toEqual([
        [
          "alter table s.t drop constraint c;",
          spelling,
          "alter table s.t alter column a type integer using a::integer;",
          "alter table s.t add constraint c CHECK ((a > 1));",
        ].join("\n"),
      ]);
    });

    test("makes what differs in a row of its own", () => {
      const other = constraint("c", "CHECK ((a = 'x'))");
      expect(run([number, check], [text, other], [onColumn])).toEqual([
        `alter table s.t drop constraint c;\n${spelling}\nalter table s.t alter column a type integer using a::integer;`,
        "alter table s.t add constraint c CHECK ((a > 1));",
      ]);
    });

    test("makes nothing again before all that it needs is there", () => {
      const b = (base: Column) => ({ ...base, name: "b", quoted: "b" });
      const rows = run(
        [number, b(number), check],
        [text, b(text), check],
        [onColumn, ["constraint", "c", "column", "b"]],
      );
      expect(rows[0]).not.toContain("add constraint");
      expect(rows[1]).toMatch(/add constraint c CHECK \(\(a > 1\)\);$/);
    });

    test("leaves as it is what a view uses, and all that needs it", () => {
      const view = { type: "column", name: "a", kind: "other", what: "view v" } as const;
      const [change, add] = run([number, check], [text], [onColumn], [view]);
      expect(change).toMatch(
        /^-- view v depends on it: .*\n-- .*\n-- alter table s\.t alter column a/,
      );
      expect(add).toMatch(/^-- it needs column a, which is left as it is/);
    });

    test("casts only what can be cast", () => {
      const point = column("a", { type: "point", base: "point", cast: castOf("point") });
      expect(run([number], [point], [])).toEqual(["-- there is no cast from point to integer"]);
    });
  });

  test("tells another order of columns, of those that both have", () => {
    const rows = schemaDiff({
      local: side([column("a"), column("b"), column("c")]),
      peer: side([column("c"), column("a")]),
    });
    expect(rows).toMatchObject([
      { object_name: "b", status: "local_only" },
      {
        object_type: "column order",
        local_definition: "a, c",
        peer_definition: "c, a",
        status: "order",
      },
    ]);
  });

  test("makes a table whole where the peer has none, keys before foreign keys", () => {
    const [sql] = suggestions(
      [
        column("a", { not_null: true }),
        constraint("fk", "FOREIGN KEY", "f"),
        constraint("pk", "PRIMARY KEY (a)", "p"),
      ],
      [],
    );
    expect(sql?.split("\n")).toEqual([
      "create table s.t (",
      "  a integer not null);",
      "alter table s.t add constraint pk PRIMARY KEY (a);",
      "alter table s.t add constraint fk FOREIGN KEY;",
    ]);
  });

  test("does not drop a table", () => {
    expect(suggestions([], [column("a")])).toEqual([
      "-- drop table s.t; -- the rows in it would be lost",
    ]);
  });
});
