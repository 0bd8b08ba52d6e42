import type { SchemaPairServers } from "./schema-model.ts";
import { diff, runPlainly } from "./schemas.ts";

/*
 * All pairs of types, of columns that schema_diff would change from one to the other: what it suggests is run as it is,
 * over values at the edges, in a session with other settings.
 */

const app = { database: "app" };
const words = ["", "abcd", "ab    ", "007", "1.25", "sad", "{}"];
const numbers = ["0", "-1", "1", "1.25", "99.96", "1.5", "NaN"];

/** Types that a column may have, and values of each. */
const edges: Readonly<Record<string, readonly string[]>> = {
  smallint: ["0", "-32768", "32767"],
  integer: ["0", "2", "-2147483648", "16777217"],
  bigint: ["0", "1", "9007199254740993", "4294967295"],
  numeric: [...numbers, "1.50", "12345678901234567890.123456789", "1e-20", "Infinity"],
  "numeric(6,3)": numbers,
  "numeric(4,1)": ["0", "-1.5", "999.9", "NaN"],
  real: ["0.1", "1.25", "1e30", "-0", "16777216"],
  "double precision": ["0.1", "1.26", "0.30000000000000004", "1e300", "16777217", "2"],
  boolean: ["t", "f"],
  text: [
    ...words,
    "é".repeat(70),
    "t",
    "2024-02-29 10:11:12.345",
    '{"a":1, "a":2}',
    "1.2.3.4/24",
    "[1,5)",
  ],
  "character varying(3)": words.filter((word) => word.length < 4),
  "character varying(10)": words,
  "character(3)": ["", "a", "abc", "1", "007"],
  "character(5)": ["", "a", "abcde", "1.25", "sad"],
  bpchar: ["", "a", "ab  ", "abcdef", "1"],
  name: ["", "abc", "abcdef   ", "é".repeat(31)],
  '"char"': ["", "a", "\\377"],
  date: ["2024-02-29", "infinity", "4713-01-01 BC", "5874897-12-31"],
  "timestamp without time zone": ["2024-02-29 10:11:12.345678", "2024-02-29 00:00:00", "infinity"],
  "timestamp(0) without time zone": ["2024-02-29 10:11:12", "-infinity"],
  "timestamp with time zone": ["2024-02-29 10:11:12.345678+00", "infinity"],
  "time without time zone": ["24:00:00", "10:11:12.345678"],
  interval: ["1 year 2 mons -3 days 04:05:06.789", "25:00:00"],
  "interval day to second(3)": ["3 days 04:05:06.789"],
  json: ['{"a":1, "a":2}', "{}   ", "1.0"],
  jsonb: ['{"a": 1.00}', "1", '"x"'],
  inet: ["192.168.1.5/24", "1.2.3.4", "::1"],
  cidr: ["10.0.0.0/8", "1.2.3.4/32"],
  uuid: ["ffffffff-ffff-ffff-ffff-ffffffffffff"],
  bytea: ["\\x00ff", "\\x"],
  "bit(3)": ["101", "000"],
  "bit varying(4)": ["", "101", "1111"],
  point: ["(0.1,2)"],
  int4range: ["[1,5)", "empty"],
  "s.mood": ["sad", "ab  "],
  "s.short": ["", "abc", "a  "],
  "s.price": ["1.5", "-999.9"],
  "integer[]": ["{}", "{1,NULL,-3}", "[2:3]={4,70000}"],
  "numeric(6,3)[]": ["{1.25,NULL}"],
  "numeric(4,1)[]": ["{1.5}"],
  "text[]": ['{"a b",abcd,NULL}', "{}"],
  "character varying(3)[]": ['{abc,"a  "}'],
};

/** Others, for which there is time in the soak. */
const rareEdges: typeof edges = {
  "numeric(5,0)": ["0", "99999", "-3"],
  oid: ["0", "4294967295"],
  "timestamp(3) with time zone": ["2024-02-29 10:11:12.345+00", "2024-03-31 01:30:00+00"],
  "time(1) with time zone": ["10:11:12.3+05:45"],
  "interval(0)": ["1 mon 04:05:06"],
  macaddr: ["08:00:2b:01:02:03"],
  macaddr8: ["08:00:2b:ff:fe:01:02:03", "08:00:2b:01:02:03:04:05"],
  money: ["1.25", "-3.00"],
  box: ["(1,1),(0,0)"],
  circle: ["<(0,0),1.5>"],
  "bigint[]": ["{1}", "{9007199254740993}"],
};

const surroundings = `create type mood as enum ('sad', 'ok', 'ab  ');
  create domain short as varchar(3); create domain price as numeric(4, 1)`;

/**
 * Run statements over values in a column c of s.t that is of a type, and take all back. With what becomes of each
 * value: an error, or how it is printed before, and afterwards when it is of its old type again. Prints by the
 * settings of the caller, runs by others.
 */
const judge = `create function judge(c text, type text, sql text, vals text[]) returns jsonb
language plpgsql as $$
declare
  before jsonb;
  after jsonb;
begin
  execute format('insert into s.t (%I) select v::%s from unnest($1) v', c, type) using vals;
  execute format('select jsonb_agg(%I::text order by ctid) from s.t', c) into before;
  begin
    perform set_config(name, value, true) from (values ('timezone', 'Asia/Tokyo'), ('datestyle', 'SQL, DMY'),
      ('intervalstyle', 'sql_standard'), ('extra_float_digits', '0'), ('bytea_output', 'escape')) s(name, value);
    execute sql;
    perform set_config(name, reset_val, true) from pg_settings
    where name in ('TimeZone', 'DateStyle', 'IntervalStyle', 'extra_float_digits', 'bytea_output');
    execute format('select jsonb_agg(%I::%s::text order by ctid) from s.t', c, type) into after;
    raise sqlstate 'UNDO0';
  exception when sqlstate 'UNDO0' then
    delete from s.t;
    return jsonb_build_object('before', before, 'after', after);
  when others then
    delete from s.t;
    if cardinality(vals) = 1 then return jsonb_build_object('error', sqlerrm, 'state', sqlstate); end if;
    return (select jsonb_agg(s.judge(c, type, sql, array[v])) from unnest(vals) v);
  end;
end $$`;

interface Judged {
  readonly before?: readonly string[];
  readonly after?: readonly string[];
  readonly error?: string;
  readonly state?: string;
}

/** What became of the pairs. */
export interface PairsOutcome {
  comments: number;
  statements: number;
  /** values that an error kept from a change */
  refused: number;
  /** what was lost without a word */
  readonly lost: string[];
  /** errors that are none of a value */
  readonly broken: string[];
}

/** Values that count as one, by what a comment before the statement says. */
function isSame(before: string, after: string, sql: string): boolean {
  if (before === after) return true;
  if (sql.startsWith("-- spaces at the end")) {
    return before.replace(/ +(?=$|[",}])/g, "") === after.replace(/ +(?=$|[",}])/g, "");
  }
  return (
    sql.startsWith("-- the spelling") &&
    (Number(before) === Number(after) || after.startsWith(before))
  );
}

function tell(outcome: PairsOutcome, what: string, sql: string, judged: Judged): void {
  if (judged.error !== undefined) {
    outcome.refused += 1;
    // a value that does not fit is class 22
    if (!/^(22|23)/.test(judged.state ?? ""))
      outcome.broken.push(`${what}: ${judged.error}: ${sql}`);
    return;
  }
  for (const [i, value] of (judged.before ?? []).entries()) {
    const after = judged.after?.[i] ?? "";
    if (!isSame(value, after, sql)) outcome.lost.push(`${what}: ${value} -> ${after}: ${sql}`);
  }
}

/** For each type, columns of all the others become of it. */
export async function changeTypes(
  stage: SchemaPairServers,
  { rare }: { readonly rare: boolean },
): Promise<PairsOutcome> {
  const values = rare ? { ...edges, ...rareEdges } : edges;
  const names = Object.keys(values);
  const outcome: PairsOutcome = { comments: 0, statements: 0, refused: 0, lost: [], broken: [] };
  const columns = (type: (name: string) => string) =>
    names.map((name, i) => `c${i} ${type(name)}`).join(", ");
  const fresh = `drop schema if exists s cascade; create schema s; set search_path = s; ${surroundings}`;
  await runPlainly(stage.server, fresh);
  await runPlainly(stage.peer, `${fresh}; create table t (${columns((name) => name)}); ${judge}`);
  const client = await stage.peer.connect(app);
  try {
    for (const target of names) {
      await runPlainly(
        stage.server,
        `drop table if exists s.t; create table s.t (${columns(() => target)})`,
      );
      for (const row of await diff(stage)) {
        const from = names[Number(row.object_name.slice(1))] as string;
        const sql = row.suggested_sql ?? "";
        if (sql.split("\n").every((line) => line.startsWith("--"))) {
          outcome.comments += 1;
          continue;
        }
        outcome.statements += 1;
        const { rows } = await client.query("select s.judge($1, $2, $3, $4) as judged", [
          row.object_name,
          from,
          sql,
          values[from],
        ]);
        for (const judged of [rows[0].judged].flat())
          tell(outcome, `${from} to ${target}`, sql, judged);
      }
    }
  } finally {
    await client.end();
  }
  return outcome;
}
