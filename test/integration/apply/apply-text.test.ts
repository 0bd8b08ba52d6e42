import { rm, writeFile } from "node:fs/promises";
import { DatabaseError } from "pg";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { applySnapshot, runApply } from "../../support/apply.ts";
import { Archive } from "../../support/archive.ts";
import { giveToServer } from "../../support/data-directory.ts";
import { expectNoLeaks } from "../../support/leaks.ts";
import { createRandom } from "../../support/random.ts";
import { type Server, startServer } from "../../support/server.ts";
import { freshPath, takeSnapshot } from "../../support/snapshots.ts";

// Workers read common types themselves. COPY is the judge: of the bytes of each row, and of what is no value.

let server: Server;
let original: string;
const source = { database: "source" };
const target = { database: "target" };
const intoEmptied = { ...target, args: "sections => '{data}', truncate => true, parallel => 1" };
const random = createRandom();

const columns = {
  i2: "int2",
  i4: "int4",
  i8: "int8",
  b: "bool",
  n: "numeric",
  n2: "numeric(12,2)",
  n3: "numeric(20,6)",
  n0: "numeric(5,-2)",
  t: "text",
  v: "varchar(30)",
  v0: "varchar",
  c: "char(12)",
  c1: '"char"',
  d: "date",
  ts: "timestamp",
  tz: "timestamptz",
  tz3: "timestamptz(3)",
  j: "jsonb",
  js: "json",
  dom: "small",
  u: "uuid",
  f: "float8",
  a: "int4[]",
};
type Column = keyof typeof columns;
const names = Object.keys(columns) as Column[];

beforeAll(async () => {
  server = await startServer({ name: "apply-text", settings: { TimeZone: "Europe/Berlin" } });
  await server.createDatabase("source", { extension: true });
  const definition = names.map((name) => `${name} ${columns[name]}`).join(", ");
  await server.query(
    `create domain small as int4 check (value < 100) not null;
     create table kinds (dropped int, ${definition});
     alter table kinds drop column dropped;
     create table nothing ();
     create extension pageinspect`,
    [],
    source,
  );
  original = (await takeSnapshot(server, { args: "compression => 'gzip'", ...source }))
    .storage_path;
  await server.createDatabase("target", { extension: true });
  await applySnapshot(server, original, { ...target, args: "sections => '{pre-data}'" });
});
afterAll(async () => {
  await expectNoLeaks(server, { files: [original.split("/").at(-1) ?? ""] });
  await server.destroy();
});

/** A value as COPY text. */
function escaped(value: string | null): string {
  if (value === null) return "\\N";
  const letters: Record<string, string> = { "\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r" };
  return value.replaceAll(/[\\\t\n\r]/g, (c) => letters[c] ?? c);
}

function line(values: Partial<Record<Column, string | null>>): string {
  return `${names.map((name) => escaped(values[name] ?? (name === "dom" ? "1" : null))).join("\t")}\n`;
}

/** Apply an archive whose table holds this text, and let COPY load the same. */
async function bothWays<T>(
  text: string | Buffer,
  rows: number,
  use: (apply: string, copy: string) => Promise<T>,
): Promise<T> {
  const archive = await Archive.copyOf(server, original);
  await archive.setData("kinds", text, rows);
  await archive.write();
  const file = freshPath(server);
  await writeFile(file, text);
  await giveToServer(file);
  try {
    return await use(archive.path, file);
  } finally {
    await rm(archive.path, { recursive: true });
    await rm(file);
  }
}

/** A digest of the bytes of all rows, in whichever order, without what their headers tell of transactions. */
async function rowBytes(table: string): Promise<string> {
  const [row] = await server.query<{ bytes: string }>(
    `select count(*) || ' ' || md5(string_agg(bytes, '' order by bytes)) as bytes
     from generate_series(0, pg_relation_size('${table}') / 8192 - 1) blkno,
       heap_page_items(get_raw_page('${table}', blkno::int)),
       md5(concat(t_infomask2 & 2047, t_infomask & 7, t_bits, ':', encode(t_data, 'hex'))) bytes`,
    [],
    target,
  );
  return row?.bytes ?? "";
}

async function expectSame(text: string | Buffer, rows: number): Promise<void> {
  await bothWays(text, rows, async (path, file) => {
    await applySnapshot(server, path, intoEmptied);
    await server.query(
      `drop table if exists copied; create table copied (like kinds); copy copied from '${file}'`,
      [],
      target,
    );
    const ours = await rowBytes("kinds");
    expect(ours).toBe(await rowBytes("copied"));
    expect(ours).toMatch(new RegExp(`^${rows} `));
  });
}

const digits = (n: number) => Array.from({ length: n }, () => random.int(0, 9)).join("");
const sign = () => random.pick(["", "-"]);

function decimal(whole: number, scale: number): string {
  const head = String(random.int(1, 9)) + digits(random.int(0, whole - 1));
  return sign() + (random.next() < 0.1 ? "0" : head) + (scale > 0 ? `.${digits(scale)}` : "");
}

function words(max: number): string {
  const letters = ["\\", "\t", "\n", "\r", "\v", "\u0001", '"', " ", "ä", "🐘", "N", ".", "{"];
  let text = "";
  for (let n = random.int(0, max); n > 0; n--)
    text += random.next() < 0.1 ? random.pick(letters) : random.pick(["a", "b", "c"]);
  return text;
}

/** A document as a user may write it; COPY TO would write few of them so. */
function json(depth: number): string {
  const kind = random.int(0, depth > 0 ? 9 : 5);
  if (kind === 0) return random.pick(["true", "false", "null"]);
  if (kind <= 2)
    return random.next() < 0.2
      ? `${decimal(3, 0)}e${random.int(-9, 9)}`
      : decimal(20, random.int(0, 20));
  if (kind <= 5)
    return JSON.stringify(random.next() < 0.3 ? words(40) : "abc".repeat(random.int(0, 9)));
  const [comma, colon] = random.pick([
    [", ", ": "],
    [", ", ": "],
    [", ", ": "],
    [",", ":"],
    [" , ", "  :\n"],
  ] as const);
  const items = Array.from({ length: random.int(0, 5) }, () => json(depth - 1));
  if (kind <= 7) return `[${items.join(comma)}]`;
  const keys = random.next() < 0.2 ? ["b", "a", "aa", "b", ""] : ["", "a", "b", "aa", "ab"];
  return `{${items.map((item, i) => `"${keys[i]}"${colon}${item}`).join(comma)}}`;
}

const two = (n: number) => String(n).padStart(2, "0");

function date(): string {
  const year = random.pick([1, 4, 100, 1582, 1900, 1999, 2000, 2024, 2026, 9999]);
  return `${String(year).padStart(4, "0")}-${two(random.int(1, 12))}-${two(random.int(1, 28))}`;
}

function timestamp(): string {
  const time = `${two(random.int(0, 23))}:${two(random.int(0, 59))}:${two(random.int(0, 59))}`;
  return `${date()} ${time}${random.next() < 0.5 ? `.${digits(random.int(1, 6))}` : ""}`;
}

function randomRow(): Partial<Record<Column, string>> {
  const values: Record<Column, string> = {
    i2: String(random.int(-32768, 32767)),
    i4: String(random.int(-(2 ** 31), 2 ** 31 - 1)),
    i8: `${sign()}${digits(random.int(1, 18))}`,
    b: random.pick(["t", "f", "true", "off", "1"]),
    n: decimal(random.int(1, 25), random.int(0, 25)),
    n2: decimal(10, random.int(0, 4)),
    n3: decimal(14, 6),
    n0: decimal(6, random.int(0, 2)),
    t: words(60),
    v: [...words(30)].slice(0, 30).join(""),
    v0: words(200),
    c: [...words(14).padEnd(12)].slice(0, 12).join(""),
    c1: random.pick(["a", "", "z"]),
    d: date(),
    ts: timestamp(),
    tz: timestamp() + random.pick(["+00", "+00", "+02", "", " Europe/Berlin", "+05:30"]),
    tz3: `${timestamp()}+00`,
    j: json(4),
    js: json(3),
    dom: String(random.int(-99, 99)),
    u: `${digits(8)}-${digits(4)}-${digits(4)}-${digits(4)}-${digits(12)}`,
    f: decimal(10, 5),
    a: `{${random.int(0, 9)},NULL}`,
  };
  return Object.fromEntries(
    Object.entries(values).filter(([name]) => name === "dom" || random.next() < 0.9),
  );
}

test("what is loaded is byte for byte what COPY loads", async () => {
  const rows = 4000;
  await expectSame(Array.from({ length: rows }, () => line(randomRow())).join(""), rows);
});

test("so are values at the edges of what is read in a short way", async () => {
  const edges: Partial<Record<Column, readonly string[]>> = {
    i2: ["-32768", "32767", "-0", "007", " 5 ", "0x1f", "1_000"],
    i4: ["-2147483648", "2147483647", "+5", "0b11", "000000000000000000000005"],
    i8: ["-9223372036854775808", "9223372036854775807", "999999999999999999", "-1"],
    n: [
      "NaN",
      "-Infinity",
      "-0",
      "-0.00",
      "0.10",
      "00.5",
      ".5",
      "5.",
      "1e10",
      "1_0.5",
      "999999999999999999",
      "9999999999999999999",
      "0.000000000000000001",
      "0.0000000000000000001",
      `1${"0".repeat(200)}`,
      " 7 ",
    ],
    n2: ["1.00", "9999999999.99", "-9999999999.99", "0.005", "1", "1.5", "1e3", "NaN"],
    n0: ["150", "9999900", "50", "-149"],
    t: ["", "\\N", "\\.", "\\", "\\\\", "x\\", "N"],
    v: ["x".repeat(30), `${"x".repeat(30)}   `, "ä".repeat(30), "🐘".repeat(30)],
    c: ["x", "", "ä".repeat(12), "x".repeat(12), `${"x".repeat(12)}  `],
    d: [
      "0001-01-01",
      "9999-12-31",
      "10000-01-01",
      "2024-02-29",
      "0044-03-15 BC",
      "infinity",
      "-infinity",
      "2000-1-1",
      "20000101",
      "2000-02-29",
      "1999-12-31",
      "epoch",
    ],
    ts: [
      "2000-01-01 00:00:00",
      "1999-12-31 23:59:59.999999",
      "2000-01-01 24:00:00",
      "2000-01-01 23:59:60",
      "2000-01-01T00:00:00",
      "2000-01-01",
      "2000-01-01 00:00",
      "2000-01-01 00:00:00.1234567",
      "2000-01-01 00:00:00.",
      "infinity",
      "0001-01-01 00:00:00",
      "9999-12-31 23:59:59.999999",
      "2000-01-01 00:00:00+05",
    ],
    tz: [
      "2000-01-01 00:00:00+00",
      "2000-01-01 00:00:00+0",
      "2000-01-01 00:00:00+00:00",
      "2000-01-01 00:00:00Z",
      "2000-01-01 00:00:00.5-00",
      "infinity",
      "2000-01-01 00:00:00.000001+00",
      "2000-01-01 00:00:00+00 BC",
    ],
    j: [
      "{}",
      "[]",
      "[[], {}, [{}]]",
      "5",
      '"x"',
      "null",
      ' {"a": 1} ',
      '{"a": 1 }',
      '{"a": 1, "a": 2}',
      '{"b": 1, "a": 2}',
      '{"aa": 1, "b": 2}',
      '{"a": "\\u0041\\n\\"\\\\"}',
      '{"a": "\u007f"}',
      "[-0, 0, -1, 0.10, 1e2, 1E+2, 0e0]",
      "[123456789012345678, 1234567890123456789, 0.12345678901234567890]",
      `${"[".repeat(63)}${"]".repeat(63)}`,
      `${"[".repeat(64)}${"]".repeat(64)}`,
      `${"[".repeat(65)}${"]".repeat(65)}`,
      `[${"1, ".repeat(5000)}1]`,
      '{"0123456789abcdef": "0123456789abcdef"}',
      '{"0123456789abcde": "0123456789abcde"}',
      '{"ä": "🐘"}',
      "[true, false, null]",
    ],
  };
  const lines = Object.entries(edges).flatMap(([name, values]) =>
    values.map((value) => line({ [name]: value })),
  );
  await expectSame(lines.join(""), lines.length);
});

test("and rows of any length, across whatever buffers they are read into", async () => {
  const lines = Array.from({ length: 60 }, () =>
    line({ i4: "1", t: "long \\ text\t".repeat(random.int(0, 2 ** random.int(1, 16))), v: "end" }),
  );
  const archive = lines.join("");
  await bothWays(archive, lines.length, async (path, file) => {
    await applySnapshot(server, path, intoEmptied);
    await server.query(
      `drop table if exists copied; create table copied (like kinds); copy copied from '${file}'`,
      [],
      target,
    );
    const differing = await server.query(
      `(table kinds except all table copied) union all (table copied except all table kinds)`.replaceAll(
        /table (\w+)/g,
        "select i4, t, v from $1",
      ),
      [],
      target,
    );
    expect(differing).toEqual([]);
  });
});

describe("what COPY refuses is refused in its words:", () => {
  test.each<[what: string, text: string | Buffer]>([
    ["an integer out of range", line({ i2: "32768" })],
    ["a bigint out of range", line({ i8: "9223372036854775808" })],
    ["no integer", line({ i4: "5x" })],
    ["an empty integer", line({ i4: "" })],
    ["no truth", line({ b: "x" })],
    ["a numeric out of range", line({ n2: "99999999999.00" })],
    ["no numeric", line({ n: "1.2.3" })],
    ["a text that is too long", line({ v: "x".repeat(31) })],
    ["characters that are too many", line({ c: "ä".repeat(13) })],
    ["a day that no month has", line({ d: "2023-02-29" })],
    ["a thirteenth month", line({ ts: "2023-13-01 00:00:00" })],
    ["a twenty-fifth hour", line({ tz: "2023-12-01 25:00:00+00" })],
    ["a year zero", line({ d: "0000-01-01" })],
    ["JSON that does not end", line({ j: '{"a": [1, 2}' })],
    ["JSON with a leading zero", line({ j: "[01]" })],
    ["JSON with a bare minus", line({ j: "[-]" })],
    ["JSON with a bare point", line({ j: "[1.]" })],
    ["JSON with a long number that is two", line({ j: "[1234567890123456789-5]" })],
    ["JSON with a long number of two points", line({ j: "[12345678901234567.1.2]" })],
    ["JSON with more behind it", line({ j: "{}}" })],
    ["JSON with a control character", line({ j: '{"a": "\u0001"}' })],
    ["JSON without a colon", line({ j: '{"a", 1}' })],
    ["a value that its domain refuses", line({ dom: "100" })],
    ["NULL that its domain refuses", line({}).replace("\t1\t", "\t\\N\t")],
    ["too many columns", line({}).replace("\n", "\tx\n")],
    ["too few columns", line({}).replace("\t\\N\n", "\n")],
    ["text of another encoding", Buffer.from(line({ t: "x\u00e4" }), "latin1")],
    ["a literal carriage return", line({ t: "x" }) + line({ t: "x" }).replace("x", "a\rb")],
    ["a zero byte", line({ t: "x\0y" })],
  ])("%s", async (_, text) => {
    await bothWays(text, 1, async (path, file) => {
      const row = await runApply(server, path, intoEmptied);
      const client = await server.connect(target);
      await client.query("set search_path = ''");
      const refusal = await client
        .query(`copy public.kinds from '${file}'`)
        .then(() => undefined)
        .catch((error: unknown) => error);
      await client.end();
      if (!(refusal instanceof DatabaseError)) throw new Error("COPY did not refuse it");
      expect(row.error_sqlstate).toBe(refusal.code);
      expect(row.error_message).toContain(refusal.message);
    });
  });

  test.each<[what: string, text: string | Buffer, says: RegExp]>([
    [
      "a backslash that COPY does not write",
      line({ t: "x" }).replace("x", "\\x41"),
      /column "t" holds a backslash/,
    ],
    ["a backslash before the end of a row", line({}).replace("\n", "\\\n"), /ends within a row/],
    ["data that ends within a row", line({}).replace("\n", ""), /ends within a row/],
    [
      "data that ends in no text",
      Buffer.from([0xff, 0xfe, 0x80]),
      /^the data ends within a row: COPY kinds, line 1\n/,
    ],
  ])("and %s", async (_, text, says) => {
    await bothWays(text, 1, async (path) => {
      const row = await runApply(server, path, intoEmptied);
      expect(row).toMatchObject({ status: "failed", error_sqlstate: "22P04" });
      expect(row.error_message).toMatch(says);
    });
  });
});

test("rows of a table without columns are empty lines, and nothing else", async () => {
  const archive = await Archive.copyOf(server, original);
  await archive.setData("nothing", "\nx\n", 2);
  await archive.write();
  expect(await runApply(server, archive.path, intoEmptied)).toMatchObject({
    status: "failed",
    error_message: expect.stringContaining("extra data after last expected column"),
  });
  await archive.setData("nothing", "\n\n\n\\.\n\n\n", 3);
  await archive.write();
  await applySnapshot(server, archive.path, intoEmptied);
  expect(await server.query("select count(*)::int as n from nothing", [], target)).toEqual([
    { n: 3 },
  ]);
  await rm(archive.path, { recursive: true });
});
