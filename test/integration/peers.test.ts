import { createServer, type Server as TcpServer } from "node:net";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { analyzeOverlap, brief } from "../support/overlap.ts";
import { createRole, dropRole } from "../support/roles.ts";
import { type Server, startServer } from "../support/server.ts";

let a: Server;
let b: Server;
const secret = "s3cret-word";

beforeAll(async () => {
  a = await startServer({ name: "peers-a" });
  b = await startServer({
    name: "peers-b",
    identity: "peer",
    hba: ["host all visitor 127.0.0.1/32 scram-sha-256"],
  });
  await a.query("create extension steep_repl cascade");
  for (const server of [a, b])
    await server.query("create table t (id int primary key); insert into t values (1)");
  await b.query(
    `create role visitor login password '${secret}'; grant select on t to visitor; create view v as select 1 as id; create table hidden (id int primary key)`,
  );
  await a.query("create view v as select 1 as id; create table hidden (id int primary key)");
  await createRole(a, "postgres", "plain");
});
afterAll(async () => {
  await dropRole(a, "postgres", "plain");
  await a.destroy();
  await b.destroy();
});
afterEach(async () => {
  await a.query("delete from steep_repl.nodes");
});

const to = (extra = `password='${secret}'`) =>
  `host=127.0.0.1 port=${b.port} dbname=postgres user=visitor ${extra}`;

/** The error of a comparison, all its texts in one, and that no text has the password. */
async function refusal(
  peer: string | null,
  options: { tables?: string[] | null; user?: string; args?: string } = {},
) {
  const error = await analyzeOverlap(a, peer as string, { tables: ["public.t"], ...options }).then(
    () => undefined,
    (e: Error & { code: string; detail?: string; hint?: string; where?: string }) => e,
  );
  if (!error) throw new Error("it was not refused");
  const text = [error.message, error.detail, error.hint, error.where].join("\n");
  expect(text).not.toContain(secret);
  return { code: error.code, text };
}

test.each([
  ["NULL", null, "22023", "must not be null or empty"],
  ["empty", "", "22023", "must not be null or empty"],
  ["an unknown name", "nobody", "42704", "neither a registered node, nor a foreign server"],
  ["no pairs", `host=127.0.0.1 ${secret}`, "22023", "not a valid connection string"],
  ["an unknown keyword", `host=127.0.0.1 ${secret}=1`, "22023", "not a valid connection string"],
  [
    "an unfinished quote",
    `host=127.0.0.1 password='${secret}`,
    "22023",
    "not a valid connection string",
  ],
  [
    "an odd address",
    `postgresql://u:${secret}@host:port:port/x`,
    "22023",
    "not a valid connection string",
  ],
  [
    "a bad port in an address",
    `postgresql://u:${secret}@127.0.0.1:${secret}/x`,
    "22023",
    "not a valid connection string",
  ],
])(
  "a connection string that is %s is refused, without the password",
  async (_, peer, code, message) => {
    const error = await refusal(peer);
    expect(error.text).toContain(message);
    expect(error.code).toBe(code);
  },
);

test("unreachable hosts, wrong passwords and databases say what libpq says", async () => {
  expect(await refusal(`host=127.0.0.1 port=1 password=${secret}`)).toMatchObject({
    code: "08001",
    text: expect.stringContaining("Connection refused"),
  });
  expect(await refusal(`host=no.such.host.invalid password=${secret}`)).toMatchObject({
    code: "08001",
    text: expect.stringContaining("could not translate host name"),
  });
  expect(await refusal(to("password=wrong"))).toMatchObject({
    code: "08001",
    text: expect.stringContaining("password authentication failed"),
  });
  expect(await refusal(to().replace("dbname=postgres", "dbname=absent"))).toMatchObject({
    code: "08001",
    text: expect.stringContaining('database "absent" does not exist'),
  });
});

test("a host that accepts and stays silent is given up after 10 s", async () => {
  const silent: TcpServer = createServer(() => {});
  await new Promise<void>((resolve) => silent.listen(0, "127.0.0.1", resolve));
  const { port } = silent.address() as { port: number };
  const started = Date.now();
  const error = await refusal(`host=127.0.0.1 port=${port} password=${secret}`);
  expect(error).toMatchObject({
    code: "08001",
    text: expect.stringContaining("peer does not answer"),
  });
  // without a deadline it would be waited for without end
  expect(Date.now() - started).toBeLessThan(25_000);
  silent.close();
});

test("the very database itself is no peer, another one of the same server is", async () => {
  expect(await refusal(a.uri())).toMatchObject({
    code: "22023",
    text: expect.stringContaining("this very database"),
  });
  await a.createDatabase("second");
  await a.query("create table t (id int primary key); insert into t values (2)", [], {
    database: "second",
  });
  expect((await analyzeOverlap(a, a.uri("second"), { tables: ["public.t"] })).map(brief)).toEqual([
    [1, 1, 0, 0, 0],
  ]);
  await a.query("drop database second");
});

test("tables that cannot be compared are refused before anything is read", async () => {
  expect(await refusal(to(), { tables: [] })).toMatchObject({
    code: "22023",
    text: expect.stringContaining("empty array"),
  });
  expect(await refusal(to(), { tables: ["t"] })).toMatchObject({ code: "22023" });
  expect(await refusal(to(), { tables: ['public."'] })).toMatchObject({ code: "22023" });
  expect(await refusal(to(), { tables: ["public.t", 'public."t"'] })).toMatchObject({
    code: "22023",
    text: expect.stringContaining("named twice"),
  });
  expect(await refusal(to(), { tables: ["public.absent"] })).toMatchObject({
    code: "42P01",
    text: expect.stringContaining("table public.absent does not exist"),
  });
  expect(await refusal(to(), { tables: ["public.v"] })).toMatchObject({
    code: "42809",
    text: expect.stringContaining("public.v is a view"),
  });
  expect(await refusal(to(), { tables: ["public.hidden"] })).toMatchObject({
    code: "42501",
    text: expect.stringContaining("peer: permission denied for table public.hidden"),
  });
  await a.query("create table only_here (id int primary key)");
  expect(await refusal(to(), { tables: ["public.only_here"] })).toMatchObject({
    code: "42P01",
    text: expect.stringContaining("peer: table public.only_here does not exist"),
  });
  for (const args of [
    `primary_keys => '[]'`,
    `primary_keys => '{"public.t": "id"}'`,
    `primary_keys => '{"public.t": []}'`,
    `primary_keys => '{"public.u": ["id"]}'`,
    "catch_up_timeout => null",
    "catch_up_timeout => '-1 s'",
  ])
    expect(await refusal(to(), { args })).toMatchObject({ code: "22023" });
  expect(await refusal(to(), { args: `primary_keys => '{"public.t": ["x"]}'` })).toMatchObject({
    code: "42703",
  });
});

test("a role needs a password that was used, rights on the table, and a node that is its own or a superuser's", async () => {
  const user = "plain";
  expect(await refusal(to(""), { user })).toMatchObject({ code: "2F003" });
  expect(
    await refusal(`host=127.0.0.1 port=${b.port} user=postgres password=${secret}`, { user }),
  ).toMatchObject({ code: "2F003" });
  expect(await refusal(to(), { user, tables: ["public.hidden"] })).toMatchObject({ code: "42501" });
  expect((await analyzeOverlap(a, to(), { user, tables: ["public.t"] })).map(brief)).toEqual([
    [0, 0, 1, 0, 0],
  ]);

  await createRole(a, "postgres", "other");
  await a.query("select steep_repl.register_node('theirs', 'theirs', '127.0.0.1', $1)", [b.port], {
    user: "other",
  });
  expect(await refusal("theirs", { user })).toMatchObject({
    code: "42501",
    text: expect.stringContaining('registered by role "other"'),
  });
  await a.query("delete from steep_repl.nodes");
  await dropRole(a, "postgres", "other");

  await a.query(`create server remote foreign data wrapper dblink_fdw options (host '127.0.0.1', port '${b.port}', dbname 'postgres');
    create user mapping for plain server remote options (user 'visitor', password '${secret}'); grant usage on foreign server remote to plain`);
  await a.query("select steep_repl.register_node('b', 'b', foreign_server => 'remote')");
  for (const peer of ["remote", "b"])
    expect((await analyzeOverlap(a, peer, { user, tables: ["public.t"] })).map(brief)).toEqual([
      [0, 0, 1, 0, 0],
    ]);
  await a.query("drop server remote cascade");
});

describe("a deadline", () => {
  const sleep = "perform pg_sleep(0.5)";
  const inBlock = (body: string) => `do $$ begin ${body} end $$`;

  test.each([
    ["an error that a handler takes", "raise division_by_zero"],
    [
      "an error of a block within",
      "begin perform 1; exception when others then null; end; raise division_by_zero",
    ],
    ["its own passing", sleep],
  ])("does not outlive %s", async (_, step) => {
    const client = await a.connect();
    await client.query(
      inBlock(
        `begin perform steep_repl._start_deadline(100); ${step};
         exception when query_canceled or division_by_zero then null; end; ${sleep};`,
      ),
    );
    await client.end();
  });

  test("does not outlive its transaction, nor a savepoint that is rolled back", async () => {
    const client = await a.connect();
    await client.query("select steep_repl._start_deadline(100)");
    await client.query("select pg_sleep(0.5)");
    await client.query("begin; savepoint s; select steep_repl._start_deadline(100); rollback to s");
    await client.query("select pg_sleep(0.5)");
    await client.query("commit");
    await client.end();
  });

  test("cancels what a released savepoint and its transaction go on with", async () => {
    const client = await a.connect();
    await client.query("begin; savepoint s; select steep_repl._start_deadline(100); release s");
    await expect(client.query("select pg_sleep(20)")).rejects.toMatchObject({ code: "57014" });
    await client.query("rollback; select pg_sleep(0.2)");
    await client.end();
  });

  test("of closing a connection ends with it, also if the peer cannot be told to stop", async () => {
    const client = await a.connect();
    await client.query("begin");
    const { rows } = await client.query("select steep_repl._peer_open($1) as name", [b.uri()]);
    await client.query(
      `savepoint s; create or replace function dblink_cancel_query(text) returns text
       language plpgsql as 'begin raise exception ''no way''; end'`,
    );
    await client.query("select steep_repl._peer_send($1, 'select pg_sleep(60)::text')", [
      rows[0].name,
    ]);
    await client.query(
      inBlock(
        `begin perform steep_repl._peer_close('${rows[0].name}');
         exception when raise_exception then null; end; perform pg_sleep(0.8);`,
      ),
    );
    expect((await client.query("select dblink_get_connections() as open")).rows).toEqual([
      { open: null },
    ]);
    await client.query("rollback");
    await client.end();
  });
});
