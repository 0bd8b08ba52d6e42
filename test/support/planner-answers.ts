import type { ConnectOptions } from "./node.ts";
import type { Random } from "./random.ts";
import type { Server } from "./server.ts";
import { waitUntil } from "./wait-until.ts";

/*
 * Answers of a planner that are wrong, given to the real coordinator. A role can change what JavaScript
 * says; here steep_repl._call is replaced by one that says what a script tells it, so that jobs
 * follow answers that a right planner gave, up to one that is wrong.
 */

/** Anything that JSON can say, or nothing at all. */
export type Answer = unknown;

/** What a planner says in a job, one answer after the other. */
export interface Script {
  readonly answers: readonly Answer[];
  /** What is wrong, for messages. */
  readonly what: string;
  /** No coordinator may do this. */
  readonly isRefused: boolean;
}

/** A job that went well, and what its planner said. */
export interface Recording {
  readonly operation: string;
  readonly params: { readonly [name: string]: unknown };
  readonly answers: readonly { readonly [name: string]: unknown }[];
}

export interface JobEnd {
  readonly script: number;
  readonly operation: string;
  readonly status: string;
  readonly error_sqlstate: string | null;
  readonly error_message: string | null;
}

/** Have the planner follow scripts, or record what it says, in one database. */
export async function replacePlanner(server: Server, at: ConnectOptions): Promise<void> {
  await server.query(
    `create schema script;
     create table script.answers (script int, n int, answer jsonb, primary key (script, n));
     create table script.said (id int generated always as identity, operation text, answer jsonb);
     grant usage on schema script to public;
     grant select, insert on all tables in schema script to public;
     alter function steep_repl._call(text, jsonb) rename to _real_call;
     create function steep_repl._call(fn text, args jsonb) returns jsonb
     language plpgsql set search_path = pg_catalog, pg_temp as $$
     declare
       said constant int := coalesce(nullif(current_setting('script.n', true), ''), '0')::int;
       wanted constant int := args -> 'params' ->> 'script';
       result jsonb;
     begin
       if fn <> 'next_action' or wanted is null then
         result := steep_repl._real_call(fn, args);
         if fn = 'next_action' then
           insert into script.said (operation, answer) values (args ->> 'operation', result);
         end if;
         return result;
       end if;
       perform set_config('script.n', (said + 1)::text, false);
       select replace(a.answer::text, '@path@', coalesce(args -> 'params' ->> 'output_path', ''))::jsonb
       into result from script.answers a where a.script = wanted and a.n = said;
       return result;
     end $$`,
    [],
    at,
  );
}

/** The params of the latest job of an operation, and what its planner said. */
export async function recordingOf(
  server: Server,
  operation: string,
  at: ConnectOptions,
): Promise<Recording> {
  const [job] = await server.query<{ params: Record<string, unknown>; answers: string }>(
    `select w.params, (select json_agg(s.answer order by s.id)::text from script.said s where s.operation = $1) as answers
     from steep_repl.work_queue w where w.operation = $1 and w.status = 'complete' order by w.created_at desc limit 1`,
    [operation],
    at,
  );
  if (!job) throw new Error(`no job of ${operation} is complete`);
  await server.query("delete from script.said where operation = $1", [operation], at);
  const path = job.params.output_path;
  const answers = path ? job.answers.replaceAll(String(path), "@path@") : job.answers;
  return { operation, params: job.params, answers: JSON.parse(answers) };
}

const wrongValues: readonly unknown[] = [
  ...[null, true, false, 0, -1, 1e300, -2147483649, 2147483648, 2147483647, 9e15, 0.5],
  ...["", "yes", "no", "-1", "x".repeat(100_000), "\u{1f418}", "{}", "select 1"],
  ...[[], [null], [1], ["a", null], [["a"]], {}, { a: 1 }, { kind: "pin" }],
  Array.from({ length: 1000 }).reduce((inner) => [inner], "deep"),
];

/** What the queries of a planner answer, by the member of the action; the last one of each is a table's row. */
const answersOf: { readonly [member: string]: readonly string[] } = {
  tables: [
    ...["'pg_class'::regclass::oid", "'s'::text", "'t'::text", "'o'::text", "'{a}'::text[]"],
    ...["'f'::text", "'c'::text", "true", "'s'::text", "'r'::text"],
  ],
  matviews: ["1::oid"],
  large_objects: ["'BLOB METADATA'::text", "'1'::text", "e'1\\n'::text", "'o'::text"],
  filter: ["'s'::text", "'t'::text", "'s.t'::text", "false"],
  memberships: ["1::oid"],
  fingerprints: ["1::oid", "'f'::text"],
  facts: ["'{}'::json"],
  levels: ["1::bigint", "1::bigint"],
  checks: ["'n'::text", "'select 1'::text"],
};

/** Values of other types, and of the right one that nobody expects. */
const wrongColumns: readonly string[] = [
  ...[
    "null",
    "null::oid",
    "null::text",
    "1",
    "-1",
    "1::bigint",
    "9223372036854775807::bigint",
    "4294967295::oid",
  ],
  ...[
    "'x'::name",
    "'x'",
    "''::text",
    "repeat('x', 1000000)",
    "'{}'::text[]",
    "'{{a},{b}}'::text[]",
    "'{null}'::text[]",
  ],
  ...[
    "'{1}'::int[]",
    "'\\xff'::bytea",
    "1.5",
    "'NaN'::float8",
    "'[]'::json",
    "'{}'::jsonb",
    "row(1, 2)",
    "now()",
    "point(1, 2)",
  ],
];

const wrongStatements: readonly string[] = [
  ...[
    "",
    ";",
    "select",
    "select 1/0",
    "select 1; select 2",
    "select where false",
    "values (1), (2)",
    "nonsense",
  ],
  ...[
    "set work_mem = '1MB'",
    "create temp table x (i int)",
    "explain select 1",
    "do $$ begin end $$",
  ],
  ...[
    "declare c cursor for select 1",
    "select 1 into temp y",
    "commit",
    "select pg_catalog.set_config('role', 'none', false)",
  ],
  ...[
    "select set_config('search_path', 'script', false), pg_advisory_xact_lock(1)",
    "copy (select 1) to stdout",
  ],
  ...[
    "select generate_series(1, 100000)",
    "table pg_catalog.pg_class",
    "listen x",
    "begin",
    "savepoint s",
  ],
];

/** A query with an answer of another form. */
function wrongQuery(random: Random, member: string): string {
  const right = [...(answersOf[member] ?? [])];
  switch (random.int(0, 4)) {
    case 0:
      return random.pick(wrongStatements);
    case 1:
      return `select ${[...right, random.pick(wrongColumns)].join(", ")}`;
    case 2:
      return `select ${right.slice(1).join(", ")}`;
    case 3:
      return `select ${random.shuffle([...right, ...right]).join(", ")}`;
    default: {
      right[random.int(0, right.length - 1)] = random.pick(wrongColumns);
      const rows = random.pick(["", "from generate_series(1, 3)", "where false"]);
      return `select ${right.join(", ")} ${rows}`;
    }
  }
}

/** A script that follows a recording up to something that is wrong. */
export function wrongScript(
  random: Random,
  recording: Recording,
  all: readonly Recording[],
): Script {
  const answers: Answer[] = [...recording.answers];
  const i = random.int(0, answers.length - 1);
  const right = { ...recording.answers[i] } as Record<string, unknown>;
  const members = Object.keys(right).filter((name) => name !== "kind" && name !== "phase");
  const queries = members.filter((name) => name in answersOf && typeof right[name] === "string");
  const script = (what: string, isRefused = false): Script => ({
    answers,
    what: `${recording.operation}, answer ${i} (${right.kind}): ${what}`,
    isRefused,
  });
  const replace = (answer: Answer) => answers.splice(i, 1, answer);

  if (queries.length > 0 && random.int(0, 1) === 0) {
    const name = random.pick(queries);
    const sql = wrongQuery(random, name);
    replace({ ...right, [name]: sql });
    return script(`${name} is ${sql.slice(0, 200)}`);
  }
  if (members.length > 0 && random.int(0, 1) === 0) {
    const name = random.pick(members);
    if (random.int(0, 3) === 0) {
      const { [name]: _, ...rest } = right;
      replace(rest);
      return script(`without ${name}`);
    }
    const value = random.pick(wrongValues);
    replace({ ...right, [name]: value });
    return script(`${name} is ${JSON.stringify(value)?.slice(0, 80)}`);
  }
  switch (random.int(0, 8)) {
    case 0:
      answers.splice(i, 1);
      return script("is left out", right.kind !== "verify");
    case 1: {
      const j = random.int(0, answers.length - 1);
      [answers[i], answers[j]] = [answers[j], answers[i]];
      return script(`changes places with ${j}`);
    }
    case 2: {
      const other = random.pick(random.pick(all).answers);
      answers.splice(i, 0, other);
      return script(`after ${other.kind}`);
    }
    case 3:
      answers.splice(i, answers.length - i, { kind: "complete", phase: "complete" });
      return script("complete too early", right.kind !== "complete");
    case 4: {
      const answer = random.pick(wrongValues);
      replace(answer);
      return script(`is ${JSON.stringify(answer)?.slice(0, 80)}`, true);
    }
    case 5: {
      const name = random.pick(["kind", "phase"]);
      const value = random.pick(wrongValues);
      replace({ ...right, [name]: value });
      return script(`${name} is ${JSON.stringify(value)?.slice(0, 80)}`, true);
    }
    case 6: {
      const { kind: _, ...rest } = right;
      replace(rest);
      return script("without a kind", true);
    }
    case 7: {
      const value = random.pick(wrongValues);
      replace({ ...right, warnings: value });
      return script(`warnings are ${JSON.stringify(value)?.slice(0, 80)}`);
    }
    default:
      answers.splice(i, 0, right);
      return script("is given twice", !["pin", "complete"].includes(String(right.kind)));
  }
}

/** Run a job for each script, some at a time; how each ended. */
export async function runScripts(
  server: Server,
  scripts: readonly (Script & Pick<Recording, "operation" | "params">)[],
  at: ConnectOptions,
): Promise<readonly JobEnd[]> {
  const jobs = await queueScripts(server, scripts, at);
  await waitUntil(
    // while the server restarts there is no answer
    () => unfinished(server, at).catch(() => undefined),
    (n) => n === 0,
    "all jobs are over",
    { timeoutMs: 120_000, intervalMs: 100 },
  );
  return server.query<JobEnd & Record<string, unknown>>(
    `select (w.params ->> 'script')::int as script, w.operation, w.status, w.error_sqlstate, w.error_message
     from steep_repl.work_queue w where w.id = any ($1) order by 1`,
    [jobs.map((job) => job.id)],
    at,
  );
}

async function unfinished(server: Server, at: ConnectOptions): Promise<number | undefined> {
  const [row] = await server.query<{ n: number }>(
    "select count(*)::int as n from steep_repl.work_queue where status in ('pending', 'running')",
    [],
    at,
  );
  return row?.n;
}

async function queueScripts(
  server: Server,
  scripts: readonly (Script & Pick<Recording, "operation" | "params">)[],
  at: ConnectOptions,
): Promise<readonly { readonly id: string }[]> {
  await server.query("truncate script.answers", [], at);
  await server.query(
    `insert into script.answers select (s.i - 1)::int, (a.i - 1)::int, a.answer
     from jsonb_array_elements($1) with ordinality s(answers, i), jsonb_array_elements(s.answers) with ordinality a(answer, i)`,
    [JSON.stringify(scripts.map((s) => s.answers))],
    at,
  );
  return server.query<{ id: string }>(
    `insert into steep_repl.work_queue (operation, params)
     select j ->> 'operation', (j -> 'params') || jsonb_build_object('script', (i - 1)::int) ||
            case when j -> 'params' ? 'output_path' then jsonb_build_object('output_path', $2 || '/' || gen_random_uuid()) else '{}' end
     from jsonb_array_elements($1) with ordinality e(j, i) returning id`,
    [
      JSON.stringify(scripts.map(({ operation, params }) => ({ operation, params }))),
      server.snapshotDir,
    ],
    at,
  );
}
