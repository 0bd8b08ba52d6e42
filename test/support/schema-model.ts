import { bin, run } from "./pg.ts";
import { createRandom, type Random } from "./random.ts";
import { randomSchemaPair, type SchemaPair, surroundings } from "./random-schema.ts";
import { tableDifferences } from "./schema-dump.ts";
import { type Difference, diff } from "./schemas.ts";
import { type Server, startServer } from "./server.ts";

/*
 * Random pairs of tables: what schema_diff suggests is run at the peer, as it is. Then nothing differs but what a
 * suggestion that is only a comment has said, and pg_dump agrees.
 */

const app = { database: "app" };

/** Two servers whose databases are called app. */
export interface SchemaPairServers {
  readonly server: Server;
  readonly peer: Server;
}

/** Two servers, the peer without steep_repl. */
export async function startSchemaPair(name: string): Promise<SchemaPairServers> {
  const [server, peer] = await Promise.all([
    startServer({ name, settings: { fsync: "off" } }),
    startServer({
      name: `${name}-peer`,
      identity: "peer",
      preload: false,
      settings: { fsync: "off" },
    }),
  ]);
  await server.createDatabase("app", { extension: true });
  await peer.createDatabase("app");
  for (const node of [server, peer]) await prepareTables(node);
  await server.query(
    `select steep_repl.register_node('a', 'A', dbname => 'app');
     select steep_repl.register_node('b', 'B', '127.0.0.1', ${peer.port}, dbname => 'app')`,
    [],
    app,
  );
  return { server, peer };
}

/** Runs statements of which some are refused; says which were not. */
const attempt = `
  create extension btree_gist;
  create function attempt(statements text[]) returns text[] language plpgsql as $$
  declare
    statement text;
    made text[] := '{}';
  begin
    foreach statement in array statements loop
      begin
        execute statement;
        set constraints all immediate;
        made := made || statement;
      exception when others then
      end;
    end loop;
    return made;
  end $$`;

/** Once in database app, before makeTables. */
export async function prepareTables(node: Server): Promise<void> {
  await node.query("create role reader; create role writer");
  await node.query(attempt, [], app);
}

/** Make a schema with what its statements leave; returns those that were not refused. */
export async function makeTables(
  node: Server,
  schema: string,
  statements: readonly string[],
): Promise<string[]> {
  const client = await node.connect(app);
  try {
    await client.query("set client_min_messages = error");
    await client.query(
      `drop publication if exists steep_pub; drop schema if exists ${schema} cascade; create schema ${schema}; set search_path = ${schema}, public; ${surroundings}`,
    );
    const { rows } = await client.query("select attempt($1) as made", [statements]);
    return rows[0].made;
  } finally {
    await client.end();
  }
}

/** Tables of which others have something come first. */
const order = ["ref", "room", "log", "par", "par2", "root", "root2", "t"];

async function differing({ server }: SchemaPairServers, except = ""): Promise<string[]> {
  const rows = await server.query<{ table_name: string }>(
    `select table_name from steep_repl.compare_fingerprints('a', 'b')
     where schema_name = 's' and status <> 'match' and status <> $1`,
    [except],
    app,
  );
  const place = (name: string) => (order.includes(name) ? order.indexOf(name) : order.length);
  return rows.map((row) => row.table_name).sort((a, b) => place(a) - place(b));
}

const isComment = ({ suggested_sql }: Difference) =>
  (suggested_sql ?? "").split("\n").every((line) => line.startsWith("--"));

const name = ({ object_type, object_name }: Difference) => `${object_type} ${object_name}`;

/** Why something is only commented on, without names. */
function reason({ suggested_sql, status }: Difference): string {
  const lines = (suggested_sql ?? "").split("\n");
  return `${status}: ${(lines[0] ?? "").replace(/alter table.*; /, "…; ").replace(/\b(column|constraint|index|trigger|policy|rule) \S+/g, "$1 …")}`;
}

async function psql(peer: Server, sql: string): Promise<string> {
  const { code, stderr } = await run(
    bin("psql"),
    ["-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", peer.uri("app"), "-f", "-"],
    { input: sql, allowFailure: true, env: { PGOPTIONS: "-c client_min_messages=error" } },
  );
  return code === 0 ? "" : stderr;
}

/** What became of a pair. */
export interface Outcome {
  readonly shape: string;
  /** statements that were not refused, of both sides */
  readonly made: number;
  readonly tables: number;
  readonly reasons: readonly string[];
  /** compared by pg_dump as well */
  readonly isDumped: boolean;
}

/** Mend one table; the reasons of what is left. */
async function mendTable(
  stage: SchemaPairServers,
  table: string,
  story: object,
  rounds = 3,
): Promise<string[]> {
  const rows = await diff(stage, `s.${table}`);
  const sql = rows.map((row) => row.suggested_sql ?? "").join("\n");
  const fail = (what: string, more: object = {}) => {
    throw new Error(
      `${what}\n${JSON.stringify({ ...story, table, rows, ...more }, null, 1)}\n${sql}`,
    );
  };
  const error = await psql(stage.peer, sql);
  if (error !== "") fail(`psql: ${error}`);
  const after = (await diff(stage, `s.${table}`)).filter((row) => row.status !== "order");
  // a partition that is detached keeps as its own what it had from its parent
  if (sql.includes("compare again") && rounds > 1 && after.length > 0) {
    return mendTable(stage, table, { ...story, before: rows }, rounds - 1);
  }
  const explained = rows.filter(isComment);
  const known = new Set(explained.map(name));
  // a table that is made whole says it in between
  const isSaid = (row: Difference) => isComment(row) && sql.includes(row.suggested_sql ?? "");
  const left = after.filter((row) => !known.has(name(row)) && !isSaid(row));
  if (left.length > 0) fail("not mended", { left });
  const still = new Set(after.map(name));
  return explained.filter((row) => still.has(name(row))).map(reason);
}

/** Make a pair of tables, mend the peer's, and judge. */
export async function mendPair(
  stage: SchemaPairServers,
  pair: SchemaPair,
  story: object,
  { dump }: { readonly dump: boolean },
): Promise<Outcome> {
  const made = await Promise.all([
    makeTables(stage.server, "s", pair.here),
    makeTables(stage.peer, "s", pair.there),
  ]);
  const told = { ...story, shape: pair.shape, made };
  const tables = await differing(stage, "peer_only");
  const reasons: string[] = [];
  for (const table of tables) reasons.push(...(await mendTable(stage, table, told)));
  const isDumped = dump && reasons.length === 0 && (await differing(stage)).length === 0;
  if (isDumped) {
    const differences = await tableDifferences(stage.server, stage.peer);
    if (differences.length > 0)
      throw new Error(
        `pg_dump differs\n${differences.join("\n")}\n${JSON.stringify(told, null, 1)}`,
      );
  }
  const [here, there] = made;
  return {
    shape: pair.shape,
    made: here.length + there.length,
    tables: tables.length,
    reasons,
    isDumped,
  };
}

/** Numbers of pairs, and how often what was left for which reason. */
export function tally(outcomes: readonly Outcome[]): object {
  const count = (of: readonly string[]) => {
    const counts = new Map<string, number>();
    for (const key of of) counts.set(key, (counts.get(key) ?? 0) + 1);
    return Object.fromEntries([...counts].sort(([, a], [, b]) => b - a));
  };
  return {
    pairs: outcomes.length,
    tables: outcomes.reduce((sum, { tables }) => sum + tables, 0),
    made: outcomes.reduce((sum, { made }) => sum + made, 0),
    equal: outcomes.filter(({ reasons }) => reasons.length === 0).length,
    dumped: outcomes.filter(({ isDumped }) => isDumped).length,
    shapes: count(outcomes.map(({ shape }) => shape)),
    reasons: count(outcomes.flatMap(({ reasons }) => reasons)),
  };
}

/** Seeds of single pairs that went wrong before, to try just those; null: all. */
const only = process.env.STEEP_ONLY_PAIRS?.split(",").map(Number) ?? null;

/** Make, mend and judge a number of pairs, each by a seed of its own; those that went wrong are told as they do. */
export async function mendPairs(
  stage: SchemaPairServers,
  pairs: number,
  dumpEvery: number,
  random: Random = createRandom(),
): Promise<Outcome[]> {
  const outcomes: Outcome[] = [];
  const wrong: string[] = [];
  const seeds = only ?? Array.from({ length: pairs }, () => random.int(0, 2 ** 31));
  for (const [i, seed] of seeds.entries()) {
    const pair = randomSchemaPair(createRandom(seed));
    await mendPair(stage, pair, { seed }, { dump: i % dumpEvery === 0 }).then(
      (outcome) => outcomes.push(outcome),
      (error: Error) => {
        wrong.push(`STEEP_ONLY_PAIRS=${seed}`);
        console.info(`pair ${i} of ${seeds.length}: ${error.message}`);
      },
    );
  }
  if (wrong.length > 0) {
    console.info(JSON.stringify(tally(outcomes), null, 1));
    throw new Error(`${wrong.length} of ${pairs} pairs went wrong: ${wrong.join(", ")}`);
  }
  return outcomes;
}
