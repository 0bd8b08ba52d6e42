import type { Client } from "pg";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { createRandom } from "../../support/random.ts";
import { createRole } from "../../support/roles.ts";
import { type Server, startServer } from "../../support/server.ts";

/* Errors that reach a session: what they say, and what they leave behind. */
let server: Server;
const app = { database: "app" };

beforeAll(async () => {
  server = await startServer({ name: "errors" });
  await server.createDatabase("app", { extension: true });
  await createRole(server, "app", "ordinary");
  await server.query("create table t as select 1 as id", [], app);
});
afterAll(() => server.destroy());

/** Calls that fail, by the public function whose arguments they get wrong. */
const mistakes: Readonly<Record<string, readonly (readonly [sql: string, code: string])[]>> = {
  analyze_overlap: [
    ["select * from steep_repl.analyze_overlap('', null)", "22023"],
    ["select * from steep_repl.analyze_overlap('nobody', null)", "42704"],
    ["select * from steep_repl.analyze_overlap('host=127.0.0.1 port=1 password=x', null)", "08001"],
  ],
  cancel_merge: [
    ["select steep_repl.cancel_merge(null)", "22023"],
    ["select steep_repl.cancel_merge('merge_x')", "42704"],
  ],
  cancel_operation: [
    ["select steep_repl.cancel_operation(null)", "22023"],
    ["select steep_repl.cancel_operation(4711)", "42704"],
  ],
  cancel_snapshot: [["select steep_repl.cancel_snapshot('snap_x')", "42704"]],
  capture_fingerprints: [
    ["select steep_repl.capture_fingerprints('')", "22023"],
    ["select steep_repl.capture_fingerprints('nobody')", "42704"],
  ],
  compare_fingerprints: [
    ["select * from steep_repl.compare_fingerprints('', '')", "22023"],
    ["select * from steep_repl.compare_fingerprints('nobody', 'b')", "42704"],
  ],
  cancel_pair: [
    ["select steep_repl.cancel_pair(null)", "22023"],
    ["select steep_repl.cancel_pair('pair_x')", "42704"],
  ],
  pair_progress: [["select * from steep_repl.pair_progress('pair_x')", "42704"]],
  wait_pair: [
    ["select steep_repl.wait_pair(null)", "22023"],
    ["select steep_repl.wait_pair('pair_x')", "42704"],
  ],
  drop_pair: [
    ["select * from steep_repl.drop_pair(null)", "42704"],
    ["select * from steep_repl.drop_pair('nobody')", "42704"],
  ],
  preflight: [
    ["select * from steep_repl.preflight('nobody')", "22023"],
    ["select * from steep_repl.preflight('nobody', existing => 'odd')", "22023"],
  ],
  start_pair: [
    ["select steep_repl.start_pair(null)", "22023"],
    ["select steep_repl.start_pair('nobody')", "22023"],
    ["select steep_repl.start_pair('nobody', existing => 'odd')", "22023"],
    ["select steep_repl.start_pair('nobody', strategy => 'odd')", "22023"],
    ["select steep_repl.start_pair('nobody', sequences => 'odd')", "22023"],
    ["select steep_repl.start_pair('nobody', parallel => 0)", "22023"],
    ["select steep_repl.start_pair('nobody', output_path => 'here')", "22023"],
    ["select steep_repl.start_pair('nobody', last_modified_column => 'x')", "22023"],
  ],
  drop_snapshot: [["select steep_repl.drop_snapshot('snap_x')", "42704"]],
  list_operations: [["select * from steep_repl.list_operations('done')", "22023"]],
  merge_rows_left: [["select * from steep_repl.merge_rows_left('merge_x')", "42704"]],
  merge_progress: [["select * from steep_repl.merge_progress('merge_x')", "42704"]],
  overlap_rows: [
    ["select * from steep_repl.overlap_rows('x', 'public.t', 'odd')", "22023"],
    ["select * from steep_repl.overlap_rows('', 'public.t')", "22023"],
  ],
  prune_operations: [["select steep_repl.prune_operations('-1 day')", "22023"]],
  register_node: [
    ["select steep_repl.register_node('', '')", "22023"],
    ["select steep_repl.register_node('a', 'A', port => 0)", "22023"],
    ["select steep_repl.register_node('a', 'A', foreign_server => 'none')", "22023"],
  ],
  resolve_conflict: [
    ["select steep_repl.resolve_conflict(null, 'local')", "22023"],
    ["select steep_repl.resolve_conflict(4711, 'local')", "42704"],
  ],
  replication_status: [["select * from steep_repl.replication_status('nowhere')", "42704"]],
  retry_operation: [["select steep_repl.retry_operation(4711)", "42704"]],
  schema_diff: [
    ["select * from steep_repl.schema_diff('', '', '')", "22023"],
    ["select * from steep_repl.schema_diff('nobody', 'b', 'public.t')", "42704"],
  ],
  snapshot_progress: [["select * from steep_repl.snapshot_progress('snap_x')", "42704"]],
  start_apply: [
    ["select steep_repl.start_apply('')", "22023"],
    ["select steep_repl.start_apply('/nowhere/at/all')", "58P01"],
    ["select steep_repl.start_apply('/tmp', sections => '{odd}')", "22023"],
  ],
  start_fetch: [
    ["select steep_repl.start_fetch('nobody', 'x', 'relative')", "22023"],
    ["select steep_repl.start_fetch('', 'x', '/tmp/x')", "22023"],
    ["select steep_repl.start_fetch('nobody', 'x', '/tmp/none')", "42704"],
    ["select steep_repl.start_fetch('nobody', 'x', '/tmp')", "58P02"],
  ],
  start_merge: [
    ["select steep_repl.start_merge('', null)", "22023"],
    ["select steep_repl.start_merge('nobody', null)", "42704"],
    ["select steep_repl.start_merge('nobody', '{public.nothing}')", "42P01"],
    ["select steep_repl.start_merge('nobody', null, strategy => 'odd')", "22023"],
  ],
  start_overlap: [["select steep_repl.start_overlap('', null)", "22023"]],
  start_snapshot: [
    ["select steep_repl.start_snapshot('')", "22023"],
    ["select steep_repl.start_snapshot('relative')", "22023"],
    ["select steep_repl.start_snapshot('/nowhere/at/all')", "58P01"],
    ["select steep_repl.start_snapshot('/tmp/x', tables => '{public.none}')", "42P01"],
    ["select steep_repl.start_snapshot('/tmp/x', compression => 'rar')", "22023"],
  ],
  undo_merge: [["select steep_repl.undo_merge('merge_x')", "42704"]],
  verify_snapshot: [["select * from steep_repl.verify_snapshot('/nowhere/at/all')", "58P01"]],
  wait_merge: [["select steep_repl.wait_merge('merge_x')", "42704"]],
  wait_operation: [
    ["select steep_repl.wait_operation(4711)", "42704"],
    ["select steep_repl.wait_operation(1, -1)", "22023"],
  ],
  wait_snapshot: [["select steep_repl.wait_snapshot('snap_x')", "42704"]],
};

/** These take any argument that their types have, or none. */
const cannotFail = [
  "bgworker_available",
  "health",
  "heartbeat",
  "leftovers",
  "min_pg_version",
  "node_status",
  "remove_node",
  "version",
];

const successes = [
  "select steep_repl.bgworker_available()",
  "select status from steep_repl.health()",
  "select steep_repl.heartbeat('a')",
  "select * from steep_repl.leftovers()",
  "select steep_repl.min_pg_version()",
  "select * from steep_repl.node_status()",
  "select steep_repl.remove_node('nobody')",
  "select * from steep_repl.replication_status()",
  "select steep_repl.version()",
  "select steep_repl.register_node('a', 'A''s \\ \"node\" ü🐘')",
  "select steep_repl.capture_fingerprints('a')",
  "select * from steep_repl.list_operations()",
  "select * from steep_repl.snapshot_progress()",
  "select * from steep_repl.merge_progress()",
  "select steep_repl.prune_operations('1 day')",
];

interface Failure {
  readonly code?: string;
  readonly message: string;
  readonly where?: string;
  readonly internalQuery?: string;
}

/** How a statement failed; undefined when it did not. */
function failure(client: Client, sql: string): Promise<Failure | undefined> {
  return client.query(sql).then(
    () => undefined,
    (error: Failure) => error,
  );
}

test("each public function is told wrong arguments here, or takes all", async () => {
  const rows = await server.query<{ name: string }>(
    "select distinct proname::text as name from pg_proc where pronamespace = 'steep_repl'::regnamespace and proname not like '\\_%'",
    [],
    app,
  );
  expect([...Object.keys(mistakes), ...cannotFail].sort()).toEqual(
    rows.map(({ name }) => name).sort(),
  );
});

describe("an error says nothing of functions that the caller did not call:", () => {
  test.each(Object.values(mistakes).flat())("%s", async (sql, code) => {
    const client = await server.connect(app);
    const error = await failure(client, sql);
    expect(error).toMatchObject({ code });
    expect(error?.where).toBeUndefined();
    expect(error?.internalQuery).toBeUndefined();
    await client.end();
  });

  test("neither that a right is missing", async () => {
    await server.query(
      "create role stranger login; grant usage on schema steep_repl to stranger",
      [],
      app,
    );
    const client = await server.connect({ ...app, user: "stranger" });
    for (const sql of [
      "select steep_repl.register_node('b', 'B')",
      "select * from steep_repl.list_operations()",
      "select steep_repl.start_snapshot('/tmp/x')",
    ]) {
      const error = await failure(client, sql);
      expect(error).toMatchObject({ code: "42501" });
      expect(error?.where).toBeUndefined();
    }
    await client.end();
  });

  test("nor that a row is not the role's to change", async () => {
    await server.query("select steep_repl.register_node('theirs', 'T')", [], app);
    const client = await server.connect({ ...app, user: "ordinary" });
    const error = await failure(client, "update steep_repl.nodes set node_name = 'mine'");
    expect(error).toMatchObject({ code: "42501" });
    expect(error?.where).toBeUndefined();
    await client.end();
  });

  test("nor that the statement was cancelled", async () => {
    const client = await server.connect(app);
    const blocker = await server.connect(app);
    await blocker.query("begin; lock table steep_repl.nodes in access exclusive mode");
    await client.query("set statement_timeout = '100ms'");
    const error = await failure(client, "select steep_repl.register_node('c', 'C')");
    expect(error).toMatchObject({ code: "57014" });
    expect(error?.where).toBeUndefined();
    await blocker.end();
    await client.end();
  });
});

test("the caller's own functions are named, and no others", async () => {
  await server.query(
    `create function own_inner() returns void language plpgsql as $$ begin perform steep_repl.register_node('', ''); end $$;
     create function own_outer() returns void language plpgsql as $$ begin perform own_inner(); end $$`,
    [],
    app,
  );
  const client = await server.connect(app);
  const error = await failure(client, "select own_outer()");
  expect(error?.where?.split("\n")).toEqual([
    `SQL statement "SELECT steep_repl.register_node('', '')"`,
    "PL/pgSQL function own_inner() line 1 at PERFORM",
    'SQL statement "SELECT own_inner()"',
    "PL/pgSQL function own_outer() line 1 at PERFORM",
  ]);
  await client.end();
});

/*
 * An engine that survived an error badly shows it later, and somewhere else: so everything in one
 * session, in any order.
 */
test("hundreds of successes, errors, timeouts and cancels leave a session sound", async () => {
  const random = createRandom();
  const client = await server.connect(app);
  const helper = await server.connect(app);
  const pid = (await client.query("select pg_backend_pid() as pid")).rows[0].pid;
  await client.query("select steep_repl.register_node('a', 'A')");
  const calls = [
    ...Object.values(mistakes).flat(),
    ...successes.map((sql) => [sql, undefined] as const),
  ];

  /** Ways to make a call; each answers how it failed. */
  const ways: ((sql: string) => Promise<Failure | undefined>)[] = [
    (sql) => failure(client, sql),
    async (sql) => {
      await client.query("begin");
      await client.query("savepoint s");
      const error = await failure(client, sql);
      await client.query(error ? "rollback to savepoint s" : "release savepoint s");
      await client.query("select steep_repl.version()");
      await client.query(random.pick(["commit", "rollback"]));
      return error;
    },
    // caught in SQL: the session must go on within the same statement
    async (sql) => {
      const notices: string[] = [];
      const listen = ({ message }: { readonly message?: string | undefined }) =>
        notices.push(message ?? "");
      client.on("notice", listen);
      const outer = await failure(
        client,
        `do $do$ declare row record; begin
           begin execute ${client.escapeLiteral(sql)} into row;
           exception when others then raise notice 'code %', sqlstate; end;
           perform steep_repl.health();
         end $do$`,
      );
      client.off("notice", listen);
      if (outer) return outer;
      const code = notices.find((text) => text.startsWith("code "))?.slice(5);
      return code === undefined ? undefined : { code, message: "caught" };
    },
  ];
  const interruptions: (() => Promise<unknown>)[] = [
    () => client.query(`set statement_timeout = '${random.int(1, 5)}ms'`),
    async () => {
      // one that comes too early is for the statement before, one that comes too late for the next
      await client.query("select 1");
      void helper.query("select pg_sleep($1), pg_cancel_backend($2)", [
        random.int(0, 4) / 1000,
        pid,
      ]);
    },
  ];

  for (let i = 0; i < 600; i++) {
    const [sql, code] = random.pick(calls);
    const story = `seed ${random.seed}, call ${i}: ${sql}`;
    if (random.int(1, 5) === 1) {
      await random.pick(interruptions)();
      const error = await failure(client, sql);
      if (error?.code !== "57014")
        expect(error?.code, `${story}: ${JSON.stringify(error)}`).toBe(code);
      await helper.query("select 1"); // the cancel has been sent
      await failure(client, "reset statement_timeout");
      await client.query("reset statement_timeout");
    } else {
      const error = await random.pick(ways)(sql);
      expect(error?.code, `${story}: ${error?.message}`).toBe(code);
    }
  }
  expect((await client.query("select status from steep_repl.health()")).rows).toEqual([
    { status: "healthy" },
  ]);
  expect((await client.query("select pg_backend_pid() as pid")).rows).toEqual([{ pid }]);
  await helper.end();
  await client.end();
});
