import { afterAll, beforeAll, expect, test } from "vitest";
import { type Server, startServer } from "../../support/server.ts";
import { freshPath, takeSnapshot } from "../../support/snapshots.ts";
import { waitUntil } from "../../support/wait-until.ts";

let server: Server;
const app = { database: "app" };

beforeAll(async () => {
  server = await startServer({ name: "engine" });
  await server.createDatabase("app", { extension: true });
});
afterAll(() => server.destroy());

/** A session that has called a TypeScript function of ours many times. */
async function sessionThatCalledUs() {
  const client = await server.connect(app);
  for (let i = 0; i < 20; i++) await client.query("select * from steep_repl.health()");
  return client;
}

test("statement_timeout still works in a session that called us", async () => {
  const client = await sessionThatCalledUs();
  await client.query("set statement_timeout = '200ms'");
  const before = performance.now();
  await expect(client.query("select pg_sleep(20)")).rejects.toMatchObject({ code: "57014" });
  await expect(client.query("do $$ begin loop end loop; end $$")).rejects.toMatchObject({
    code: "57014",
  });
  await expect(
    client.query("select count(*) from generate_series(1, 1000000000)"),
  ).rejects.toMatchObject({ code: "57014" });
  expect(performance.now() - before).toBeLessThan(5000);
  await client.end();
});

test("statement_timeout also ends SQL that runs below JavaScript, with its SQLSTATE", async () => {
  const client = await sessionThatCalledUs();
  const blocker = await server.connect(app);
  await blocker.query("begin; lock table steep_repl.nodes in access exclusive mode");
  await client.query("set statement_timeout = '300ms'");
  await expect(client.query("select steep_repl.register_node('a', 'A')")).rejects.toMatchObject({
    code: "57014",
  });
  await blocker.end();
  await client.query("reset statement_timeout");
  await client.query("select steep_repl.register_node('a', 'A')");
  await client.end();
});

test("pg_cancel_backend and pg_terminate_backend still work in such a session", async () => {
  const client = await sessionThatCalledUs();
  client.on("error", () => {});
  const [{ pid }] = (await client.query("select pg_backend_pid() as pid")).rows;
  for (const [call, code] of [
    ["pg_cancel_backend", "57014"],
    ["pg_terminate_backend", "57P01"],
  ] as const) {
    const sleeping = expect(client.query("select pg_sleep(30)")).rejects.toMatchObject({ code });
    await waitUntil(
      () => server.query("select wait_event from pg_stat_activity where pid = $1", [pid]),
      (rows) => rows[0]?.wait_event === "PgSleep",
      "the session sleeps",
    );
    await server.query(`select ${call}($1)`, [pid]);
    await sleeping;
  }
});

test("a fast shutdown is not held up by such sessions", async () => {
  const client = await sessionThatCalledUs();
  client.on("error", () => {});
  const before = performance.now();
  await server.restart("fast");
  // a session that does not heed the signal would hold it up for ever
  expect(performance.now() - before).toBeLessThan(15_000);
});

test("a thousand errors in one session reach the client as data and harm nothing", async () => {
  const client = await server.connect(app);
  for (let i = 0; i < 1000; i++) {
    await expect(
      client.query("select steep_repl.start_snapshot('/nowhere/at/all', parallel => $1)", [
        i % 2 === 0 ? 99 : 1,
      ]),
    ).rejects.toMatchObject({ code: i % 2 === 0 ? "22023" : "58P01" });
  }
  const { rows } = await client.query("select status from steep_repl.health()");
  expect(rows).toEqual([{ status: "healthy" }]);
  await client.end();
});

test("an error carries SQLSTATE, message and hint, and nothing empty", async () => {
  const client = await server.connect(app);
  const error = await client
    .query("select steep_repl.start_snapshot('/tmp/x', compression => 'brotli')")
    .catch((e) => e);
  expect(error).toMatchObject({
    code: "22023",
    message: 'unknown compression "brotli"',
    hint: "Use one of none, gzip, lz4, zstd.",
  });
  expect(error.detail).toBeUndefined();
  await client.end();
});

test("a second role in the same session works with its own rights", async () => {
  await server.query("create role other; grant usage on schema steep_repl to other", [], app);
  const client = await sessionThatCalledUs();
  await client.query("set role other");
  expect((await client.query("select status from steep_repl.health()")).rows).toEqual([
    { status: "healthy" },
  ]);
  await expect(client.query("select steep_repl.register_node('b', 'B')")).rejects.toMatchObject({
    code: "42501",
  });
  await client.query("reset role");
  await client.query("select steep_repl.register_node('b', 'B')");
  await client.end();
});

test("what somebody does to JavaScript in a session of their own stays there", async () => {
  const client = await sessionThatCalledUs();
  await client.query(
    `do language ${server.engine} $$ globalThis.steepRepl = { version: "0.2.0", dispatch: () => '{"result": {"node_id": "forged"}}' } $$`,
  );
  await client.query("select steep_repl.register_node('c', 'C')");
  await client.end();
  expect(
    await server.query("select node_id from steep_repl.nodes where node_id = 'forged'", [], app),
  ).toEqual([]);
  expect(await server.query("select status from steep_repl.health()", [], app)).toEqual([
    { status: "healthy" },
  ]);
});

test.each(["Symbol('x')", "null", "undefined", "7", "[1]", "{ a: 1 }", "() => 1", "new Date(NaN)"])(
  "an answer of %s, which is no text, is an error",
  async (value) => {
    const client = await sessionThatCalledUs();
    await client.query(
      `do language ${server.engine} $$ globalThis.steepRepl = { version: "0.2.0", dispatch: () => (${value}) } $$`,
    );
    await expect(client.query("select steep_repl.register_node('c', 'C')")).rejects.toMatchObject({
      severity: "ERROR",
    });
    expect((await client.query("select 1 as alive")).rows).toEqual([{ alive: 1 }]);
    await client.end();
  },
);

test("functions that are created in the session do not break ours", async () => {
  const client = await sessionThatCalledUs();
  for (let i = 0; i < 3; i++) {
    await client.query(
      `create or replace function mine() returns int language ${server.engine} as 'return ${i}'`,
    );
    expect((await client.query("select mine() as i")).rows).toEqual([{ i }]);
    expect((await client.query("select status from steep_repl.health()")).rows).toEqual([
      { status: "healthy" },
    ]);
  }
  await client.end();
});

test("a session that holds the code of another version is told to reconnect", async () => {
  const [row] = await server.query<{ answer: string }>(
    `select steep_repl._js('health', '{"version": "9.9.9", "args": {}}') as answer`,
    [],
    app,
  );
  expect(JSON.parse(row?.answer ?? "")).toMatchObject({
    error: { sqlstate: "55000", hint: "Reconnect." },
  });
});

test("a role's own start procedure runs neither in workers nor in our name", async () => {
  await server.query(
    `create role sly login; grant usage on schema steep_repl to sly; grant usage, create on schema public to sly;
     grant select, insert, update, delete on all tables in schema steep_repl to sly;
     create table spied (role text); grant insert on spied to sly`,
    [],
    app,
  );
  const sly = { ...app, user: "sly" };
  await server.query(
    `create table own as select 1 as id;
     create function spy() returns void language ${server.engine} as
       $$ (globalThis.plv8 ?? globalThis.pljs).execute('insert into public.spied values (current_user)') $$;
     create function spin() returns void language ${server.engine} as 'while (true) {}'`,
    [],
    sly,
  );
  for (const engine of ["plv8", "pljs"])
    for (const procedure of ["public.spy", "public.spin"]) {
      await server.query(`alter role sly set ${engine}.start_proc = '${procedure}'`);
      // queued without our functions: in a session of the role's own it would run
      const [job] = await server.query<{ id: string }>(
        "insert into steep_repl.work_queue (operation, params) values ('snapshot_generate', $1) returning id",
        [
          JSON.stringify({
            output_path: freshPath(server),
            compression: "zstd",
            parallel: 1,
            tables: ["public.own"],
          }),
        ],
        sly,
      );
      expect(
        await server.query(
          "select status, error_message from steep_repl.wait_operation($1, 20)",
          [job?.id],
          app,
        ),
      ).toEqual([{ status: "complete", error_message: null }]);
    }

  await takeSnapshot(server, { ...app, args: "tables => '{public.own}'" });
  await server.query("select steep_repl.health()", [], app);
  expect(await server.query("select role from spied", [], app)).toEqual([]);
});

/*
 * glibc fills what it allocates with this byte's complement, 'n': PL/JS 1.0.5 looks at a byte that
 * it has not written, and took our request for NULL where it found an n.
 */
test("what was in memory before does not matter", async () => {
  const other = await startServer({ name: "engine-memory", env: { MALLOC_PERTURB_: "145" } });
  try {
    await other.query("create extension steep_repl");
    for (let i = 0; i < 3; i++) {
      const client = await other.connect();
      for (const failing of [
        "select steep_repl.register_node('', '')",
        "select * from steep_repl.compare_fingerprints('', '')",
      ])
        await expect(client.query(failing)).rejects.toMatchObject({ code: "22023" });
      expect((await client.query("select status from steep_repl.health()")).rows).toEqual([
        { status: "healthy" },
      ]);
      await client.query("select steep_repl.register_node('a', 'A')");
      await client.end();
    }
  } finally {
    await other.destroy();
  }
});
