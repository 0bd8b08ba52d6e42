import type { Client } from "pg";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { kindsOf, LyingPeer, lieAbout } from "../../support/lying-peer.ts";
import { endOfMerge, type MergeRow, startMerge } from "../../support/merge.ts";
import { type MergePair, password, setMergePair } from "../../support/merge-pair.ts";
import { createRandom } from "../../support/random.ts";

/*
 * Whatever a peer answers, nothing of it runs here: each kind of value that it is asked for is in turn a piece of SQL. Jobs
 * may fail then, or find nonsense; but the canary stays quiet, and the server up.
 */

let pair: MergePair;
let peer: LyingPeer;
setMergePair("hostile-peer", (p) => {
  pair = p;
});

const canary = "nextval('public.canary')";
const injections = [
  canary,
  `1); select ${canary}; --`,
  `'||${canary}||'`,
  `"||${canary}||"`,
  `x'); select ${canary}; --`,
  `integer[]); select ${canary}; --`,
  `1 union all select ${canary}`,
];
const random = createRandom();

beforeAll(async () => {
  peer = await LyingPeer.before(pair.b.port);
  await pair.both("create sequence canary; grant usage on sequence canary to merger");
});
afterAll(() => peer.close());

const makeTables = `
  create type color as enum ('red', 'green');
  create table parent (id int primary key);
  create table t (id serial primary key, v text, n numeric, c color, a int[], p int references parent, at timestamptz default now());
  create unique index t_lower on t (lower(v)) where id > 0;
  create unique index t_a on t (a);
  insert into parent values (1), (2);
  insert into t (id, v, n, c, a, p) select g, 'v' || g, g, 'red', array[g], 1 from generate_series(1, 10) g;
  grant select, insert, update, delete on t, parent to merger; grant select, update on sequence t_id_seq to merger`;

beforeEach(async () => {
  await pair.both(makeTables);
  await pair.a.query(
    "insert into t (id, v, c, a) values (21, 'here', 'red', '{21}'); update t set n = 7 where id = 3; delete from parent where id = 2",
  );
  await pair.b.query("insert into t (id, v, c, a) values (22, 'there', 'green', '{22}')");
});
afterEach(async () => {
  peer.lie = (text) => text;
  expect(await pair.a.query("select is_called from canary")).toEqual([{ is_called: false }]);
  expect(await pair.a.log()).not.toMatch(/signal 11|signal 6|PANIC|TRAP|terminated by signal/);
});

const through = (user: string) =>
  `host=127.0.0.1 port=${peer.port} dbname=postgres user=${user}${user === "merger" ? ` password='${password}'` : ""} sslmode=disable`;
const tables = ["public.parent", "public.t"];

type Call = (user: string) => Promise<unknown>;

/** All kinds of answers that a call asks for, if they are true. */
async function kindsIn(call: Call, user: string): Promise<string[]> {
  const kinds = new Set<string>();
  peer.lie = (text) => {
    for (const kind of kindsOf(text)) kinds.add(kind);
    return text;
  };
  await call(user);
  return [...kinds].sort();
}

/** So many kinds a test, another choice each time; all of them take minutes. */
const lies = Number(process.env.STEEP_LIES ?? 4);

/** Make the call with kinds of answers being SQL instead; what a lie does to it is no matter. How many kinds there are. */
async function lieIn(call: Call, user: string, only = /./, n = lies): Promise<number> {
  const kinds = (await kindsIn(call, user)).filter((kind) => only.test(kind));
  for (const kind of random.shuffle(kinds).slice(0, n)) {
    const instead = random.pick(injections);
    peer.lie = lieAbout(kind, instead);
    await call(user).catch((error: { code?: string }) =>
      expect(error.code, kind).toMatch(/^[0-9A-Z]{5}$/),
    );
    const [row] = await pair.a.query("select is_called from canary");
    expect(row, `${kind} = ${instead}`).toEqual({ is_called: false });
  }
  return kinds.length;
}

/** Calls in one session, which has loaded JavaScript but once. */
async function inSession(user: string, body: (query: Client["query"]) => Promise<void>) {
  const session = await pair.a.connect({ user });
  try {
    await body(session.query.bind(session) as Client["query"]);
  } finally {
    await session.end();
  }
}

const merge =
  (args: string, of: readonly string[] = tables): Call =>
  async (user) => {
    const started = await startMerge(pair.a, through(user), { user, tables: of, args });
    return endOfMerge(pair.a, started);
  };

describe.each(["postgres", "merger"])("as %s", (user) => {
  test.each([
    ["comparing rows", "analyze_overlap($1, '{public.parent,public.t}', catch_up_timeout => '0')"],
    ["listing rows that differ", "overlap_rows($1, 'public.t')"],
  ])("%s", (_, call) =>
    inSession(user, async (query) => {
      const calling = () => query(`select steep_repl.${call}`, [through(user)]);
      expect(await lieIn(calling, user)).toBeGreaterThan(25);
    }),
  );
});

test.each([
  "compare_fingerprints('here', 'there')",
  "schema_diff('here', 'there', 'public.t')",
  "capture_fingerprints('there')",
])("%s", (call) =>
  inSession("postgres", async (query) => {
    await query("delete from steep_repl.nodes");
    await query("select steep_repl.register_node('here', 'here')");
    await query(
      "select steep_repl.register_node('there', 'there', '127.0.0.1', $1, username => 'postgres')",
      [peer.port],
    );
    await pair.a.query(
      "update steep_repl.nodes set system_identifier = steep_repl._system_identifier() where node_id = 'here'",
    );
    const calling = () => query(`select steep_repl.${call}`);
    expect(await lieIn(calling, "postgres")).toBeGreaterThan(2);
  }),
);

test("probing a node", async () => {
  const call: Call = async () => {
    await pair.a.query(
      "select steep_repl.register_node('there', 'there', '127.0.0.1', $1, username => 'postgres')",
      [peer.port],
    );
    return pair.a.query("select * from steep_repl.node_status('there', probe => true)");
  };
  expect(await lieIn(call, "postgres")).toBe(1);
  expect(
    await pair.a.query(
      "select system_identifier from steep_repl.nodes where node_id = 'there' and system_identifier !~ '^[0-9]+$'",
    ),
  ).toEqual([]);
});

test.each([
  ["postgres", "dry_run => true", tables],
  [
    ...["merger", "dry_run => true, strategy => 'last-modified', last_modified_column => 'at'"],
    ["public.t"],
  ] as [string, string, string[]],
])("a dry run of a merge, as %s, with %s", async (user, args, of) => {
  const call = merge(args, of);
  expect(await call(user)).toMatchObject({ error_message: null, status: "complete" });
  expect(await lieIn(call, user)).toBeGreaterThan(50);
});

test("a merge, its undo, and settling a conflict", async () => {
  const reset = () =>
    pair.b.query(
      "delete from t where id = 21; insert into t (id, v, c, a) values (22, 'there', 'green', '{22}') on conflict do nothing; update t set n = 3 where id = 3",
    );
  const kinds =
    /^(an array|lines|a word|.*(lsn|status|state|role|fingerprint|n|name|waits|clock|system_identifier|database))$/;
  const written = async (user: string) => {
    await reset();
    const row = (await merge("strategy => 'prefer-local'")(user)) as MergeRow;
    const undo = await pair.a.query<MergeRow>(
      "select * from steep_repl.undo_merge($1, $2)",
      [row.merge_id, through(user)],
      { user },
    );
    for (const started of undo) await endOfMerge(pair.a, started);
  };
  expect(await lieIn(written, "merger", kinds, lies / 2)).toBeGreaterThan(10);
  const settled = async (user: string) => {
    await reset();
    await merge("strategy => 'manual'")(user);
    const [conflict] = await pair.a.query<{ conflict_id: string }>(
      "select conflict_id from steep_repl.merge_conflicts where status = 'open' and reason = 'conflict'",
      [],
      { user },
    );
    return pair.a.query(
      "select steep_repl.resolve_conflict($1, 'remote', $2)",
      [conflict?.conflict_id, through(user)],
      { user },
    );
  };
  expect(await lieIn(settled, "merger", kinds, lies / 2)).toBeGreaterThan(10);
});

test("functions of the peer's catalog that were replaced", async () => {
  await pair.b.query(`alter function pg_catalog.pg_get_indexdef(oid, int, boolean) rename to honest;
    create function pg_catalog.pg_get_indexdef(oid, int, boolean) returns text language sql as $$ select '${canary.replaceAll("'", "''")}' $$`);
  try {
    expect(await merge("dry_run => true")("postgres")).toMatchObject({ status: "complete" });
  } finally {
    await pair.b.query(`drop function pg_catalog.pg_get_indexdef(oid, int, boolean);
      alter function pg_catalog.honest(oid, int, boolean) rename to pg_get_indexdef`);
  }
});
