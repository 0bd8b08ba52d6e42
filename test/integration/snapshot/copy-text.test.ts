import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import { bothTexts } from "../../support/copy-text.ts";
import { expectNoLeaks } from "../../support/leaks.ts";
import { createRandom } from "../../support/random.ts";
import { type Server, startServer } from "../../support/server.ts";
import { dropSnapshots } from "../../support/snapshots.ts";

// Workers format common types themselves. COPY is the judge: byte for byte.

let server: Server;
const app = { database: "app" };
const random = createRandom();

beforeAll(async () => {
  server = await startServer({ name: "copy-text", settings: { TimeZone: "Europe/Berlin" } });
  await server.createDatabase("app", { extension: true });
});
afterAll(() => server.destroy());
afterEach(async () => {
  await dropSnapshots(server, app);
  await expectNoLeaks(server);
});

/** Texts whose lengths and bytes that need a backslash fall anywhere in the vectors they are looked at by. */
function randomText(): string {
  const bytes = ["\\", "\t", "\n", "\r", "\v", "\f", "\b", "\u0001", "\u007f", "ä", "🐘", "N"];
  let text = "";
  for (let n = random.int(0, 70); n > 0; n--)
    text += random.next() < 0.1 ? random.pick(bytes) : "a";
  return text;
}

test("numbers, texts and truths are what COPY writes", async () => {
  const rows = Array.from({ length: 5000 }, () => ({
    i2: random.int(-32768, 32767),
    i4: random.int(-(2 ** 31), 2 ** 31 - 1),
    i8: (BigInt(random.int(-(2 ** 31), 2 ** 31 - 1)) << BigInt(random.int(0, 32))).toString(),
    t: random.next() < 0.1 ? null : randomText(),
    v: randomText(),
    c: [...randomText()].slice(0, 20).join(""),
    d: randomText(),
    j: JSON.stringify({ [randomText()]: randomText() }),
    b: random.pick([true, false, null]),
  }));
  await server.query(
    `create domain word as text;
     create domain words as word;
     create table plain (i2 int2, i4 int4, i8 int8, t text, v varchar(80), c char(40), d words, j json, b bool, dropped int, none int);
     alter table plain drop column dropped`,
    [],
    app,
  );
  await server.query(
    "insert into plain select * from json_populate_recordset(null::plain, $1)",
    [JSON.stringify(rows)],
    app,
  );
  const [ours, copy] = await bothTexts(server, "plain", app);
  expect(ours === copy).toBe(true);
  expect(ours.split("\n").length).toBe(5000 + 4);
});

test("dates and times are what COPY writes, in UTC", async () => {
  await server.query(
    `create table times (d date, t timestamp, z timestamptz);
     select setseed(${random.next()});
     insert into times select d, t, t at time zone 'UTC' from (
       select d, d + random() * interval '1 day' - (random() < 0.5)::int * interval '0.999999 s' as t from (
         select date '2000-01-01' + (s * power(10, random() * e))::int as d
         from generate_series(1, 3000) g, (values (1, 6.9), (-1, 6.3), (1, 3), (-1, 3)) k(s, e))) x;
     insert into times select d, d, d at time zone 'UTC' from (
       select unnest(array['0001-01-01', '0001-12-31 BC', '4713-01-01 BC', '9999-12-31', '10000-01-01', '2000-02-29',
         '1900-02-28', '1999-12-31', '2000-01-01', '1970-01-01', 'infinity', '-infinity'])::date) x(d);
     insert into times select null, t, t at time zone 'UTC' from (
       select unnest(array['0001-01-01 00:00:00', '0001-12-31 23:59:59.999999 BC', '9999-12-31 23:59:59.999999', '1999-12-31 23:59:59.999999',
         '1999-12-31 23:59:59.9', '2000-01-01 00:00:00.000001', '2000-01-01 00:00:00.1', '294276-12-31 23:59:59.999999'])::timestamp) x(t)`,
    [],
    app,
  );
  const [ours, copy] = await bothTexts(server, "times", app);
  expect(ours === copy).toBe(true);
  expect(ours.split("\n").length).toBe(12_020 + 4);
});

test("numerics are what COPY writes", async () => {
  await server.query(
    `create domain price as numeric(12, 2);
     create table numerics (n numeric, s numeric(20, 6), d price);
     select setseed(${random.next()});
     insert into numerics
     select case when g % 3 = 0 then -n else n end, (n % 1e13)::numeric(20, 6), (n % 1e9)::numeric(12, 2) from (
       select g, round((random()::numeric * 10::numeric ^ (random() * 40)::int + random()::numeric / 10::numeric ^ (random() * 30)::int)
                       / 10::numeric ^ (random() * 40)::int, (random() * 60)::int) as n
       from generate_series(1, 4000) g) x;
     insert into numerics (n) select unnest(array['0', '-0', '0.000', '1', '-1', '9999', '10000', '0.0001', '0.00001', '-0.00010000',
       '10000.0001', '100000000', '1e-1000', '1e1000', '-12345e2000', '1e-16383', '9e131071', 'NaN', 'Infinity', '-Infinity', '1.0000', '0.5', '99999999.99999999']::numeric[])`,
    [],
    app,
  );
  const [ours, copy] = await bothTexts(server, "numerics", app);
  expect(ours === copy).toBe(true);
  expect(ours.split("\n").length).toBe(4023 + 4);
});

/** A document of any shape; objects and arrays have more members than jsonb stores lengths of in a row. */
function randomJson(depth: number): unknown {
  const kind = random.int(0, depth > 0 ? 9 : 5);
  if (kind === 0) return random.pick([true, false, null]);
  if (kind === 1) return random.int(-1e9, 1e9);
  if (kind === 2) return random.next() * 10 ** random.int(-20, 20);
  if (kind <= 5) return random.next() < 0.5 ? randomText() : "plain";
  const members = Array.from({ length: random.int(0, random.next() < 0.1 ? 80 : 4) }, () =>
    randomJson(depth - 1),
  );
  if (kind <= 7) return members;
  return Object.fromEntries(
    members.map((m, i) => [random.next() < 0.1 ? randomText() : `k${i}`, m]),
  );
}

test("documents are what COPY writes", async () => {
  const documents = Array.from({ length: 2000 }, () => JSON.stringify(randomJson(5)));
  documents.push(
    "{}",
    "[]",
    "[[], {}]",
    '""',
    "0",
    "-0.00",
    '"\\u007f"',
    `[${"1e-20, ".repeat(100)}1]`,
  );
  documents.push(`${"[".repeat(1000)}${"]".repeat(1000)}`, `["${"long ".repeat(100_000)}"]`);
  await server.query("create table documents (j jsonb)", [], app);
  await server.query("insert into documents select unnest($1::text[])::jsonb", [documents], app);
  const [ours, copy] = await bothTexts(server, "documents", app);
  expect(ours === copy).toBe(true);
  expect(ours.split("\n").length).toBe(documents.length + 4);
});

test("a row without columns is an empty line", async () => {
  await server.query("create table empty (); insert into empty default values", [], app);
  const [ours, copy] = await bothTexts(server, "empty", app);
  expect(ours).toBe(copy);
});
