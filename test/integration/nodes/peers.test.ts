import { existsSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { type AddressInfo, createServer, type Server as TcpServer } from "node:net";
import type { Client } from "pg";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { LyingPeer } from "../../support/lying-peer.ts";
import { analyzeOverlap, brief } from "../../support/overlap.ts";
import { createRandom } from "../../support/random.ts";
import { createRole, dropRole } from "../../support/roles.ts";
import { type Server, startServer } from "../../support/server.ts";
import { openConnections } from "../../support/sessions.ts";
import { waitUntil } from "../../support/wait-until.ts";

let a: Server;
let b: Server;
const secret = "s3cret-word";
let silent: Awaited<ReturnType<typeof callSilentHost>>;

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
  silent = await callSilentHost();
});
afterAll(async () => {
  await dropRole(a, "postgres", "plain");
  await a.destroy();
  await b.destroy();
});
afterEach(async () => {
  await a.query("delete from steep_repl.nodes");
});

/** A call of a host that accepts and stays silent: the other tests need not wait for its end. */
async function callSilentHost() {
  const host: TcpServer = createServer(() => {});
  await new Promise<void>((resolve) => host.listen(0, "127.0.0.1", resolve));
  const { port } = host.address() as { port: number };
  const began = performance.now();
  const call = refusal(`host=127.0.0.1 port=${port} password=${secret}`).finally(() =>
    host.close(),
  );
  const end = call.then(
    (error) => ({ ...error, ms: performance.now() - began }),
    (error: Error) => ({ code: "", text: error.message, ms: 0 }),
  );
  return { end };
}

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

test("a role names no files of this server that prove or reveal who it is", async () => {
  const file = `${a.snapshotDir}/keys`;
  for (const keyword of [
    ...["passfile", "service", "sslcert", "sslkey", "sslkeylogfile"],
    ...["sslrootcert", "sslcrl", "sslcrldir"],
  ]) {
    expect(await refusal(`${to()} ${keyword}=${file}`, { user: "plain" })).toMatchObject({
      code: "42501",
      text: expect.stringContaining(keyword),
    });
    expect(existsSync(file)).toBe(false);
  }
  for (const user of ["plain", "postgres"])
    expect(await refusal(`${to()} oauth_issuer=https://127.0.0.1:1`, { user })).toMatchObject({
      code: "0A000",
    });
});

test("who may not call dblink_connect() connects nowhere", async () => {
  await a.query("revoke execute on function dblink_connect(text, text) from public");
  expect(await refusal(to(), { user: "plain", tables: ["public.t"] })).toMatchObject({
    code: "42501",
    text: expect.stringContaining("dblink_connect"),
  });
  await a.query("grant execute on function dblink_connect(text, text) to public");
});

/** Asks for a password whose key takes billions of rounds to derive. */
async function startSlowLogin(): Promise<TcpServer> {
  const message = (code: number, body: string) => {
    const text = Buffer.from(body);
    const head = Buffer.alloc(9);
    head.write("R");
    head.writeInt32BE(text.length + 8, 1);
    head.writeInt32BE(code, 5);
    return Buffer.concat([head, text]);
  };
  const server = createServer((socket) => {
    socket.on("error", () => {});
    socket.on("data", (bytes) => {
      const nonce = /r=([^,]+)$/.exec(bytes.toString())?.[1];
      if (bytes[0] !== "p".charCodeAt(0)) socket.write(message(10, "SCRAM-SHA-256\0\0"));
      else if (nonce !== undefined)
        socket.write(message(11, `r=${nonce}abc,s=${btoa("salt of sixteen!")},i=2000000000`));
    });
  });
  await new Promise<void>((done) => server.listen(0, "127.0.0.1", done));
  return server;
}

describe("a peer that keeps libpq busy", () => {
  let server: TcpServer;
  let peer: string;
  beforeAll(async () => {
    server = await startSlowLogin();
    const { port } = server.address() as AddressInfo;
    peer = `host=127.0.0.1 port=${port} dbname=postgres user=x password=x sslmode=disable`;
  });
  afterAll(() => server.close());

  test.each([
    ["a cancel", "select pg_cancel_backend($1)", "57014"],
    ["an end", "select pg_terminate_backend($1, 2000)", undefined],
  ])("leaves room for %s", async (_, interrupt, code) => {
    const session = await a.connect();
    const { rows } = await session.query("select pg_backend_pid() as pid");
    const connecting = session
      .query("select steep_repl._peer_connect($1, false, 60000)", [peer])
      .catch((error: { code?: string }) => error);
    await waitUntil(
      () => a.query("select wait_event from pg_stat_activity where pid = $1", [rows[0].pid]),
      ([row]) => row?.wait_event === "SteepReplPeer",
      "the session waits for the peer",
    );
    const before = performance.now();
    await a.query(interrupt, [rows[0].pid]);
    const error = (await connecting) as { code?: string };
    expect(performance.now() - before).toBeLessThan(2000);
    if (code !== undefined) {
      expect(error.code).toBe(code);
      // and the session goes on, whatever the thread that it has left to itself does
      expect((await session.query("select 1 as one")).rows).toEqual([{ one: 1 }]);
    }
    await session.end();
    await waitUntil(
      () => a.query("select from pg_stat_activity where pid = $1", [rows[0].pid]),
      (found) => found.length === 0,
      "the session is gone",
    );
    expect(await a.log()).not.toMatch(/signal (11|6)|terminated by signal/);
  });

  test("may not take one core after the other", async () => {
    const session = await a.connect();
    const connect = () => session.query("select steep_repl._peer_connect($1, false, 50)", [peer]);
    for (let i = 0; i < 4; i++) await expect(connect()).rejects.toMatchObject({ code: "08006" });
    await expect(connect()).rejects.toMatchObject({ code: "53400" });
    await session.end();
  });

  test("is given up when its time is over", async () => {
    const session = await a.connect();
    const before = performance.now();
    await expect(
      session.query("select steep_repl._peer_connect($1, false, 300)", [peer]),
    ).rejects.toMatchObject({ code: "08006", message: "peer does not answer" });
    expect(performance.now() - before).toBeLessThan(2000);
    await session.end();
  });
});

describe("a connection to a peer that misbehaves", () => {
  let peer: LyingPeer;
  let session: Client;
  let connection: string;
  const soon = 2000;

  const open = async (port = peer.port): Promise<string> => {
    const { rows } = await session.query("select steep_repl._peer_open($1) as name", [
      `host=127.0.0.1 port=${port} dbname=postgres user=postgres sslmode=disable`,
    ]);
    return rows[0].name;
  };
  const send = (query: string) =>
    session.query("select steep_repl._peer_send($1, $2)", [connection, query]);
  const answer = async (): Promise<string | null> => {
    const { rows } = await session.query("select steep_repl._peer_answer($1) as text", [
      connection,
    ]);
    return rows[0].text;
  };

  beforeEach(async () => {
    peer = await LyingPeer.before(b.port);
    session = await a.connect();
    connection = await open();
  });
  afterEach(async () => {
    await session.query("select steep_repl._peer_close($1)", [connection]);
    expect(await openConnections(session)).toBe(0);
    await session.end();
    await peer.close();
  });

  const large = "select length(repeat('x', 50000000))::text as n, '";
  test.each([
    ["a cancel", "select pg_cancel_backend($1)", "57014"],
    ["an end", "select pg_terminate_backend($1)", undefined],
  ])("that does not read what is sent leaves room for %s", async (_, interrupt, code) => {
    const { rows } = await session.query("select pg_backend_pid() as pid");
    peer.isReading = false;
    const sending = session
      .query("select steep_repl._peer_send($1, $2 || repeat('x', 100000000) || $3)", [
        connection,
        large,
        "'",
      ])
      .catch((error: { code?: string }) => error);
    await waitUntil(
      () => a.query("select wait_event from pg_stat_activity where pid = $1", [rows[0].pid]),
      ([row]) => row?.wait_event === "SteepReplPeer",
      "the session waits for the peer",
    );
    const before = performance.now();
    await a.query(interrupt, [rows[0].pid]);
    const error = (await sending) as { code?: string };
    expect(performance.now() - before).toBeLessThan(soon);
    if (code !== undefined) expect(error.code).toBe(code);
    else {
      session = await a.connect();
      connection = "peer 1";
    }
  });

  test("does not bring the server down with a session that ends while it waits", async () => {
    const random = createRandom();
    for (const query of ["select pg_sleep(60)::text", ...Array(25).fill("select 'x'")]) {
      const dying = await a.connect();
      await dying.query(`set transaction_timeout = ${random.int(5, 60)}`);
      const ended = await dying
        .query(
          `do $$ declare c text := steep_repl._peer_open('host=127.0.0.1 port=${b.port} dbname=postgres user=postgres'); x text; begin
             loop perform steep_repl._peer_send(c, '${query.replaceAll("'", "''")}'); x := steep_repl._peer_answer(c); end loop; end $$`,
        )
        .catch((error: { code?: string }) => error);
      expect(ended).toMatchObject({ code: "25P04" });
      await dying.end().catch(() => {});
    }
    expect(await a.log()).not.toMatch(/signal (11|6)|terminated by signal/);
    expect((await session.query("select 1 as one")).rows).toEqual([{ one: 1 }]);
  });

  test("that does not read is given up when its time is over", async () => {
    await session.query("select steep_repl._peer_set_deadline($1, 300)", [connection]);
    peer.isReading = false;
    const before = performance.now();
    await expect(send(`select '${"x".repeat(50_000_000)}'`)).rejects.toMatchObject({
      code: "08006",
      message: "peer does not answer",
    });
    expect(performance.now() - before).toBeLessThan(soon + 300);
  });

  test("that answers without end is given up, before it takes memory", async () => {
    await a.configure({ "steep_repl.max_peer_answer": "8MB" });
    try {
      await session.query("select steep_repl._peer_close($1)", [connection]);
      connection = await open(b.port);
      await send("select repeat('x', 7000000)");
      expect((await answer())?.length).toBe(7_000_000);
      // each answer by itself
      await send("select repeat('x', 7000000)");
      expect((await answer())?.length).toBe(7_000_000);
      await send("select repeat('x', 300000000)");
      await expect(answer()).rejects.toMatchObject({
        code: "54000",
        message: "peer: an answer is larger than 8 MB",
        hint: expect.stringContaining("steep_repl.max_peer_answer"),
      });
      const { rows } = await session.query("select pg_backend_pid() as pid");
      const peak = /VmHWM:\s+(\d+) kB/.exec(
        await readFile(`/proc/${rows[0].pid}/status`, "utf8"),
      )?.[1];
      // what is sent as fast as it is read may come in at once, but is not copied any more
      expect(Number(peak)).toBeLessThan(450_000);
      // rows without end, too
      connection = await open(b.port);
      await send("select repeat('x', 1000) from generate_series(1, 10000000)");
      await expect(answer()).rejects.toMatchObject({ code: "54000" });
    } finally {
      await a.configure({ "steep_repl.max_peer_answer": "256MB" });
    }
  });

  test("that sends notices does not write into this server's log", async () => {
    const notice = Buffer.from("SNOTICE\0VNOTICE\0C00000\0Mforged LOG line\0\0");
    const head = Buffer.from("N\0\0\0\0");
    head.writeInt32BE(notice.length + 4, 1);
    peer.noise = Buffer.concat([head, notice]);
    await send("select 'still heard'");
    expect(await answer()).toBe("still heard");
    expect(await a.log()).not.toContain("forged");
  });

  test("that answers in no encoding, or in none of ours, is not believed", async () => {
    peer.noise = Buffer.alloc(0);
    peer.lie = () => "a\0b";
    await send("select 'x'");
    await expect(answer()).rejects.toMatchObject({ code: "08P01" });
  });

  test.each([
    ["two rows", "select 'a' union all select 'b'"],
    ["two columns", "select 'a', 'b'"],
    ["a COPY", "copy (select 1) to stdout"],
  ])("that answers %s is not believed", async (_, query) => {
    await send(query);
    await expect(answer()).rejects.toMatchObject({
      code: "08P01",
      message: "peer: an answer is not one text",
    });
  });

  test("is of its session only, and says so when it is asked twice", async () => {
    await expect(answer()).rejects.toMatchObject({ code: "08P01" });
    for (const other of ["peer 4711", "peer", "", connection]) {
      const stranger = await a.connect();
      await expect(
        stranger.query("select steep_repl._peer_send($1, 'select 1')", [other]),
      ).rejects.toMatchObject({ code: "08003" });
      await stranger.end();
    }
  });

  test("that notifies and changes settings without end does not fill the memory", async () => {
    const text = (type: string, ...parts: (string | Buffer)[]) => {
      const body = Buffer.concat(parts.map((part) => Buffer.from(part)));
      const head = Buffer.from(`${type}\0\0\0\0`);
      head.writeInt32BE(body.length + 4, 1);
      return Buffer.concat([head, body]);
    };
    const { rows } = await session.query("select pg_backend_pid() as pid");
    const resident = async () =>
      Number(/VmRSS:\s+(\d+) kB/.exec(await readFile(`/proc/${rows[0].pid}/status`, "utf8"))?.[1]);
    peer.noise = text("A", Buffer.alloc(4), "channel\0", "x".repeat(1_000_000), "\0");
    const before = await resident();
    for (let i = 0; i < 30; i++) {
      await send("select 'x'");
      expect(await answer()).toBe("x");
    }
    expect((await resident()) - before).toBeLessThan(40_000);
    // of settings, libpq keeps each: so they are counted
    await a.configure({ "steep_repl.max_peer_answer": "8MB" });
    try {
      peer.noise = Buffer.alloc(0);
      await session.query("select steep_repl._peer_close($1)", [connection]);
      connection = await open();
      let n = 0;
      const many = async () => {
        for (; n < 40; n++) {
          peer.noise = Buffer.concat(
            Array.from({ length: 50 }, (_, k) =>
              text("S", `s${n}_${k}\0`, "x".repeat(20_000), "\0"),
            ),
          );
          await send("select 'x'");
          await answer();
        }
      };
      await expect(many()).rejects.toMatchObject({
        code: expect.stringMatching(/^(08P01|54000)$/),
      });
      expect(n).toBeGreaterThan(0);
    } finally {
      await a.configure({ "steep_repl.max_peer_answer": "256MB" });
    }
  });

  test.each(["P0004", "57014"])(
    "cannot say %s, which would pass by our handlers",
    async (state) => {
      await b.query(
        `create or replace function public.boo() returns text language plpgsql as $$ begin raise exception 'boo' using errcode = '${state}'; end $$`,
      );
      await send("select public.boo()");
      await expect(answer()).rejects.toMatchObject({
        code: state === "P0004" ? "P0001" : "57000",
        message: "peer: boo",
      });
      await b.query("drop function public.boo()");
    },
  );

  test("goes with the transaction, or a part of it, that opened it and fails", async () => {
    await session.query("begin; savepoint s");
    const inPart = await open(b.port);
    expect(await openConnections(session)).toBe(2);
    await session.query("rollback to s");
    expect(await openConnections(session)).toBe(1);
    await expect(
      session.query("select steep_repl._peer_send($1, 'select 1')", [inPart]),
    ).rejects.toMatchObject({ code: "08003" });
    await session.query("rollback; begin");
    await open(b.port);
    await session.query("rollback; begin");
    const lasting = await open(b.port);
    await session.query("commit; begin");
    await session.query("rollback");
    expect(await openConnections(session)).toBe(2);
    await session.query("select steep_repl._peer_close($1)", [lasting]);
  });

  test("is used by the role only that opened it", async () => {
    await session.query("set role plain");
    await expect(send("select current_user::text")).rejects.toMatchObject({ code: "08003" });
    await session.query("select steep_repl._peer_close($1)", [connection]);
    await session.query("reset role");
    await send("select 'still there'");
    expect(await answer()).toBe("still there");
  });

  test("is told to stop what it runs, and not waited for when it is not heard", async () => {
    await send("select pg_sleep(60)::text");
    const sleeping = () =>
      b.query("select from pg_stat_activity where state = 'active' and query ~ '^select pg_sleep'");
    await waitUntil(sleeping, (rows) => rows.length === 1, "the peer sleeps");
    peer.isAnswering = false;
    const before = performance.now();
    await session.query("select steep_repl._peer_close($1)", [connection]);
    expect(performance.now() - before).toBeLessThan(soon);
    await waitUntil(sleeping, (rows) => rows.length === 0, "the peer stops");
  });
});

test("a host that accepts and stays silent is given up after 10 s", async () => {
  const { ms, ...error } = await silent.end;
  expect(error).toMatchObject({
    code: "08001",
    text: expect.stringContaining("peer does not answer"),
  });
  expect(ms).toBeGreaterThan(9_000);
  // without a deadline it would be waited for without end
  expect(ms).toBeLessThan(25_000);
});
