import type { Client } from "pg";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { expectNoLeaks } from "../../support/leaks.ts";
import { createRandom } from "../../support/random.ts";
import { createRole, dropRole } from "../../support/roles.ts";
import { type Server, startServer } from "../../support/server.ts";
import { builtinValuesOf } from "../../support/type-values.ts";

// What a merge reads and writes rows by, in C. PostgreSQL's own functions are the judge.

let server: Server;
let client: Client;
const random = createRandom();

beforeAll(async () => {
  server = await startServer({ name: "images" });
  await server.createDatabase("app", { extension: true });
});
afterAll(() => server.destroy());
afterEach(async () => {
  await client?.end();
  await expectNoLeaks(server);
});

async function connect(): Promise<void> {
  client = await server.connect({ database: "app" });
  await client.query(
    "set TimeZone = 'UTC'; set DateStyle = 'ISO, YMD'; set client_min_messages = warning",
  );
}

async function value<T = string>(sql: string, params: unknown[] = []): Promise<T> {
  return (await client.query({ text: sql, values: params, rowMode: "array" })).rows[0]?.[0];
}

const literal = (text: string) => `E'${text.replaceAll("\\", "\\\\").replaceAll("'", "''")}'`;

/** A table, and the statements that read it by our functions and by PostgreSQL's. */
interface Sample {
  readonly columns: readonly (readonly [name: string, type: string])[];
  readonly rows: readonly (readonly (string | null)[])[];
}

/** Make the table `original`, look at each row's image, and make rows of the images again. */
async function expectSameImages({ columns, rows }: Sample): Promise<void> {
  await connect();
  const names = columns.map(([name]) => `"${name}"`);
  const definition = columns.map(([name, type]) => `"${name}" ${type}`).join(", ");
  await client.query(
    `create temp table original (${definition}); create temp table copied (like original);
     create temp table updated (no int, ${definition})`,
  );
  for (const row of rows) {
    const values = row.map((v, i) => (v === null ? "null" : `${literal(v)}::${columns[i]?.[1]}`));
    await client.query(`insert into original values (${values.join(", ")})`);
  }
  const of = `array[${columns.map(([name]) => literal(name)).join(", ")}]`;
  const outputs = names.map((n) => `case when num_nulls(t.${n}) = 0 then concat(t.${n}) end`);
  const image = `steep_repl._row_image(${of}, ${names.map((n) => `t.${n}`).join(", ")})`;
  const odd = await client.query(
    `select ${image} as ours, json_object(${of}, array[${outputs.join(", ")}])::text as theirs from original t
     where ${image} <> json_object(${of}, array[${outputs.join(", ")}])::text limit 1`,
  );
  expect(odd.rows).toEqual([]);
  const images = `(select string_agg(${image}, chr(10)) from original t)`;
  expect(await value(`select steep_repl._insert_images('copied', ${of}, ${images})`)).toBe(
    String(rows.length),
  );
  await client.query(
    `insert into updated select row_number() over (), r.* from steep_repl._image_rows(${images}) r(${definition})`,
  );
  const texts = (table: string, list: string) =>
    value<string[]>(
      `select array_agg(t order by t collate "C") from (select row(${list})::text as t from ${table}) t`,
    );
  const expected = await texts("original", names.join(", "));
  expect(await texts("copied", names.join(", "))).toEqual(expected);
  expect(await texts("updated", names.join(", "))).toEqual(expected);
}

describe("images of rows", () => {
  const typeName = (type: string) => ({ char: '"char"', bit: "bit(1)" })[type] ?? type;

  test("of every type are those that json_object makes, and become the same rows again", async () => {
    const kinds = Object.entries(await builtinValuesOf(server)).map(
      ([type, values]) => [type, values.filter((v) => v.length < 100_000)] as const,
    );
    const rows = Array.from({ length: 12 }, (_, i) =>
      kinds.map(([, values]) => values[i % (values.length + 1)] ?? null),
    );
    await expectSameImages({ columns: kinds.map(([type]) => [type, typeName(type)]), rows });
  });

  test("of large values, and under names that JSON has to escape", async () => {
    const long = `${"x".repeat(3_000_000)}"\n\\${"y".repeat(17)}`;
    await expectSameImages({
      columns: [
        ["it's", "text"],
        ["a\\b{}:, 🐘", "numeric"],
        ["n", "text[]"],
      ],
      rows: [
        [long, "7".repeat(100_000), '{a,NULL,"b,\\"c"}'],
        [null, null, null],
        ["", "0.00", "{}"],
      ],
    });
  });

  test("of random values, whose escapes fall anywhere in the vectors they are looked at by", async () => {
    const bytes = [
      "\\",
      "\t",
      "\n",
      "\r",
      "\v",
      "\f",
      "\b",
      '"',
      "/",
      "\u0001",
      "\u007f",
      "ä",
      "🐘",
    ];
    const text = () =>
      Array.from({ length: random.int(0, 70) }, () =>
        random.next() < 0.1 ? random.pick(bytes) : "a",
      ).join("");
    const rows = Array.from({ length: 1500 }, () => [
      text(),
      JSON.stringify({ [text()]: [text(), random.next(), null, { [text()]: random.int(-9, 9) }] }),
      random.next() < 0.1 ? null : `${random.int(-99999, 99999)}.${random.int(0, 999999)}`,
      `2000-01-01 00:00:00.${random.int(0, 999999)}+00`,
      text(),
    ]);
    await expectSameImages({
      columns: [
        ["t", "text"],
        ["j", "jsonb"],
        ["n", "numeric"],
        ["z", "timestamptz"],
        ["c", "char(80)"],
      ],
      rows,
    });
  });

  const notWhole = "a batch of a merge is not what a server answers";
  test.each([
    ["[]", notWhole, "An image is no object."],
    ['{"a" : 1}', notWhole, "An image holds what is no string."],
    ['{"a" : "1"', notWhole, "An image is not taken apart."],
    ['{"a" : "1', notWhole, "An image holds a string that does not end."],
    ['{"a" : "\\x"}', notWhole, "An image has an escape that no server writes."],
    ['{"a" : "\\u0000"}', notWhole, "An image has an escape that no server writes."],
    ['{"a" : "\\u00e4"}', notWhole, "An image has an escape that no server writes."],
    ['{"a" : "1", "a" : "2"}', notWhole, "An image has a name twice."],
    ['{"a" "1"}', notWhole, "An image has a name without a value."],
    ['{"b" : "1"}', 'the image of a row lacks column "a"', undefined],
    ["{}", 'the image of a row lacks column "a"', undefined],
    [
      `{${Array.from({ length: 2000 }, (_, i) => `"${2000 - i}" : null`).join(", ")}}`,
      notWhole,
      "An image has more columns than a row can have.",
    ],
    ['{"a" : "1"} {"a" : "2"}', "the image of a row does not end with its line", undefined],
    ['{"a" : "1"}\n\n{"a" : "2"}', notWhole, "An image is no object."],
    ['{"a" : "one"}', 'invalid input syntax for type integer: "one"', undefined],
  ])("that read %.20s are refused", async (image, message, detail) => {
    await connect();
    await client.query("create temp table t (a int)");
    for (const sql of [
      "select steep_repl._insert_images('t', '{a}', $1)",
      "select * from steep_repl._image_rows($1) r(a int)",
    ])
      await expect(client.query(sql, [image])).rejects.toMatchObject({ message, detail });
    expect(await value("select count(*) from t")).toBe("0");
  });

  test("whose names are not the same for all rows, or are none, are not made", async () => {
    await connect();
    for (const sql of [
      "select steep_repl._row_image(n, 1) from (values (array['a']), (array['b'])) v(n)",
      "select steep_repl._row_image(null::text[], 1)",
    ])
      await expect(client.query(sql)).rejects.toMatchObject({ code: "22023" });
  });

  test("are read until somebody cancels that", async () => {
    await connect();
    await client.query("set statement_timeout = '100ms'");
    const begun = Date.now();
    await expect(
      client.query(
        `select count(*) from steep_repl._image_rows(repeat(E'{"a" : "1"}\n', 20000000)) r(a int)`,
      ),
    ).rejects.toMatchObject({ code: "57014" });
    expect(Date.now() - begun).toBeLessThan(3000);
  });

  test("whose columns come in another order are read by their names", async () => {
    await connect();
    const { rows } = await client.query(
      "select * from steep_repl._image_rows($1) r(b text, a int)",
      ['{"a" : "1", "b" : "x", "c" : null}\n{"b": "y", "c": "z", "a": "2"}'],
    );
    expect(rows).toEqual([
      { a: 1, b: "x" },
      { a: 2, b: "y" },
    ]);
  });
});

describe("inserting by images", () => {
  const insert = (target: string) =>
    client.query(`select steep_repl._insert_images('${target}', '{a}', '{"a" : "1"}')`);

  test("takes the rights that INSERT takes, of the columns that are written", async () => {
    await connect();
    await client.query(
      "create table kept (a int, b int); create table hidden (a int); alter table hidden enable row level security",
    );
    await createRole(server, "app", "writer");
    await client.query("set role writer");
    await expect(insert("kept")).rejects.toMatchObject({ code: "42501" });
    await client.query("reset role; grant insert (b) on kept to writer; set role writer");
    await expect(insert("kept")).rejects.toMatchObject({ code: "42501" });
    await client.query("reset role; grant insert (a) on kept to writer; set role writer");
    await insert("kept");
    await client.query("reset role; grant insert on hidden to writer; set role writer");
    await expect(insert("hidden")).rejects.toMatchObject({ code: "0A000" });
    await client.query(
      "reset role; create schema shut; create table shut.t (a int); grant insert on shut.t to writer; set role writer",
    );
    await expect(
      client.query("select steep_repl._insert_images($1, '{a}', '{\"a\" : \"1\"}')", [
        (await server.query("select 'shut.t'::regclass::oid as oid", [], { database: "app" }))[0]
          ?.oid,
      ]),
    ).rejects.toMatchObject({ code: "42501", message: "permission denied for schema shut" });
    await client.query("reset role; drop table kept, hidden; drop schema shut cascade");
    await dropRole(server, "app", "writer");
  });

  test("is refused in a transaction that only reads, and of what is no table", async () => {
    await connect();
    await client.query("create temp view v as select 1 as a; create table kept (a int)");
    await expect(insert("v")).rejects.toMatchObject({ code: "42809" });
    await client.query("begin read only");
    await expect(insert("kept")).rejects.toMatchObject({ code: "25006" });
    await client.query("rollback; drop table kept");
  });

  test("by a trigger that inserts by images itself writes the rows of both", async () => {
    await connect();
    await client.query(
      `create table outside (a int); create table inside (a int);
       create function write_twice() returns trigger language plpgsql as $$ begin
         perform steep_repl._insert_images('inside', '{a}', format('{"a" : "%s"}', new.a));
         begin
           perform steep_repl._insert_images('inside', '{a}', '{"a" : "x"}');
         exception when invalid_text_representation then null;
         end;
         perform repeat('x', 100000);
         return new; end $$;
       create trigger t before insert on outside for each row execute function write_twice()`,
    );
    const images = Array.from({ length: 50 }, (_, i) => `{"a" : "${i}"}`).join("\n");
    expect(await value("select steep_repl._insert_images('outside', '{a}', $1)", [images])).toBe(
      "50",
    );
    expect(await value("select count(*) from outside join inside using (a)")).toBe("50");
    await client.query("drop table outside, inside; drop function write_twice");
  });

  test("is refused where a rule would do something else, and without columns", async () => {
    await connect();
    await client.query(
      "create table kept (a int); create rule r as on insert to kept do instead nothing",
    );
    await expect(insert("kept")).rejects.toMatchObject({
      code: "0A000",
      message: 'table "kept" has a rule for INSERT',
    });
    await client.query("set session_replication_role = replica");
    await insert("kept");
    await client.query("reset session_replication_role; alter table kept disable rule r");
    await insert("kept");
    expect(await value("select count(*) from kept")).toBe("2");
    await expect(
      client.query("select steep_repl._insert_images('kept', '{}', '{}')"),
    ).rejects.toMatchObject({ code: "22023" });
    await client.query("drop table kept");
  });

  test("checks constraints, fires triggers, fills defaults and finds partitions", async () => {
    await connect();
    await client.query(
      `create table parted (a int check (a < 10), b text default 'given', c int generated always as (a * 2) stored) partition by list (a);
       create table one partition of parted for values in (1);
       create function doubled() returns trigger language plpgsql as $$ begin new.b := new.b || '!'; return new; end $$;
       create trigger t before insert on one for each row execute function doubled()`,
    );
    await insert("parted");
    expect((await client.query("select * from one")).rows).toEqual([{ a: 1, b: "given!", c: 2 }]);
    await expect(
      client.query(`select steep_repl._insert_images('parted', '{a}', '{"a" : "10"}')`),
    ).rejects.toMatchObject({ code: "23514" });
    await client.query("drop table parted; drop function doubled");
  });
});

describe("an answer", () => {
  const part = (answer: string) => value("select steep_repl._merge_images($1, '{1}')", [answer]);

  test("gives the images of the rows that are wanted", async () => {
    await connect();
    expect(await part('{1}\n{7}\n{"a" : "1"}')).toBe('{"a" : "1"}');
    expect(await part('{2,1}\n{8,7}\n{"a" : "2"}\n{"a" : "1"}')).toBe('{"a" : "1"}');
    await expect(part('{2}\n{8}\n{"a" : "2"}')).rejects.toThrow("row 1 of a merge was not read");
  });

  test.each([
    ['{1}\n{7}\n{"a" : "1"}\n{"a" : "2"}', "It has more than its rows."],
    ['{1}\n{7,8}\n{"a" : "1"}', "It has more than its rows."],
    ['{1,2}\n{7,8}\n{"a" : "1"}', "Its rows are not whole."],
    ['{1,2}\n{7}\n{"a" : "1"}\n{"a" : "2"}', "Its rows are not whole."],
    ["{1}", "It is cut off."],
    ["{a}\n{1}\n", "It holds what is no number."],
    ["1\n2\n", "It holds what is no array of numbers."],
    ["{99999999999}\n{1}\n{}", "Its rows are not whole."],
  ])("such as %j is refused", async (answer, detail) => {
    await connect();
    await expect(part(answer)).rejects.toMatchObject({ code: "22000", detail });
  });

  test("of rows that are gone is refused", async () => {
    await connect();
    await expect(
      client.query("select steep_repl._merge_unchanged(null, null, null, null, null)"),
    ).rejects.toMatchObject({ code: "22000" });
  });
});

describe("the digest of a row", () => {
  /** Of each type, classes of equal values. */
  const classes: Readonly<Record<string, readonly (readonly string[])[]>> = {
    numeric: [
      ...[["0", "0.00", "-0.0"], ["1", "1.0", "1.000"], ["10000", "1e4"], ["1e-7"], ["-1"]],
      ...[["NaN"], ["Infinity"], ["-Infinity"]],
      ["1e300", `1${"0".repeat(300)}.${"0".repeat(500)}`],
    ],
    float8: [["0", "-0"], ["NaN"], ["Infinity"], ["1"], ["-1"]],
    float4: [["0", "-0"], ["NaN"], ["-Infinity"], ["1"]],
    interval: [
      ...[
        ["1 mon", "30 days", "720:00:00"],
        ["1 day", "24:00:00"],
        ["1 mon -30 days", "0"],
      ],
      ...[["infinity"], ["-infinity"], ["31 days"]],
    ],
    bpchar: [["a", "a  "], [" a"], ["", "  "]],
    jsonb: [
      ...[['{"a": [1, 2.50]}', '{"a": [1.0, 2.5]}'], ["1", "1.00"], ["[1]"], ["{}"], ["[]"]],
      ...[["null"], ['"null"'], ["true"], ["false"], ['["a", "b"]'], ['["ab", ""]']],
      ...[['[["a"], "b"]'], ['{"a": {"b": 1}}'], ['{"a": 1, "b": {}}'], ['["a", ["b"]]']],
    ],
    text: [["a"], ["a "], [""], ["1"], ["1.0"]],
  };

  test.each(Object.keys(classes))("of %s is the same for equal values alone", async (type) => {
    await connect();
    const values = classes[type]?.flatMap((same, i) => same.map((text) => ({ text, i })));
    const { rows } = await client.query(
      `select l.text as l, r.text as r, l.i = r.i as is_expected, l.text::${type} = r.text::${type} as is_equal,
              steep_repl._row_digest(l.text::${type}) = steep_repl._row_digest(r.text::${type}) as is_same
       from jsonb_to_recordset($1) l(text text, i int), jsonb_to_recordset($1) r(text text, i int)`,
      [JSON.stringify(values)],
    );
    const isOdd = (r: { is_expected: boolean; is_equal: boolean; is_same: boolean }) =>
      r.is_expected !== r.is_equal || r.is_same !== r.is_equal;
    expect(rows.filter(isOdd)).toEqual([]);
  });

  test("tells NULL from nothing, and the order of values", async () => {
    await connect();
    const digests = await Promise.all(
      ["null::text, 'a'", "'a', null::text", "'', 'a'", "'a', ''", "'a'", "null::text"].map((of) =>
        value(`select steep_repl._row_digest(${of})`),
      ),
    );
    expect(new Set(digests).size).toBe(digests.length);
  });
});
