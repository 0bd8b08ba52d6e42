import type { Client } from "pg";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test, vi } from "vitest";
import { apart, makeOriginApart } from "../../support/apart.ts";
import { expectNoLeaks } from "../../support/leaks.ts";
import { LyingPeer } from "../../support/lying-peer.ts";
import {
  auditOf,
  endOfMerge,
  imagesOf,
  type MergeRow,
  runMerge,
  sorted,
  startMerge,
} from "../../support/merge.ts";
import { createRandom, type Random } from "../../support/random.ts";
import { createRole } from "../../support/roles.ts";
import { type Server, startServer } from "../../support/server.ts";
import { waitUntil } from "../../support/wait-until.ts";

/* Merging two nodes that replicate to each other, with origin = none. */

vi.setConfig({ testTimeout: 180_000 });

const random = createRandom();
const settings = {
  wal_level: "logical",
  track_commit_timestamp: "on",
  max_worker_processes: 20,
  "steep_repl.lock_timeout": "3s",
  "steep_repl.poll_interval": "1s",
};
let a: Server;
let b: Server;

const subscribe = (name: string, to: Server) =>
  `create subscription ${name} connection '${to.uri()}' publication everything with (copy_data = false, origin = none)`;

beforeAll(async () => {
  a = await startServer({ name: "merge-pair-a", settings });
  b = await startServer({
    ...{ name: "merge-pair-b", identity: "peer", settings },
    hba: ["host all plain 127.0.0.1/32 scram-sha-256"],
  });
  for (const server of [a, b])
    await server.query(
      `create extension steep_repl cascade; ${makeOriginApart};
       create table t (id int primary key, v text, writer text); create table u (id int primary key, v text);
       create table marker (id serial primary key, at timestamptz);
       create publication everything for table t, u, marker`,
    );
  await a.query("alter sequence marker_id_seq increment 2 restart 1");
  await b.query("alter sequence marker_id_seq increment 2 restart 2");
  await a.query(subscribe("from_b", b));
  await b.query(subscribe("from_a", a));
});
afterAll(async () => {
  await a.destroy();
  await b.destroy();
});
beforeEach(async () => {
  await caughtUp();
  for (const server of [a, b]) await apart(server, "truncate t, u");
});
afterEach(async () => {
  await expectNoLeaks(a, { slots: ["from_a"] });
  await expectNoLeaks(b, { slots: ["from_b"] });
  for (const server of [a, b]) {
    expect(
      await server.query("select roname from pg_replication_origin where roname like 'steep%'"),
    ).toEqual([]);
    expect(
      await server.query(
        "select subname, apply_error_count::int as n from pg_stat_subscription_stats where apply_error_count > 0",
      ),
    ).toEqual([]);
  }
});

/** Wait until each node has applied all that the other has sent, and what it would send after that. */
async function caughtUp(...nodes: readonly (readonly [from: Server, to: Server])[]): Promise<void> {
  for (const [from, to] of nodes.length > 0
    ? nodes
    : ([
        [a, b],
        [b, a],
      ] as const)) {
    const [marker] = await from.query<{ id: number }>(
      "insert into marker (at) values (now()) returning id",
    );
    await waitUntil(
      () => to.query("select 1 from marker where id = $1", [marker?.id]),
      (rows) => rows.length === 1,
      `${to.name} has what ${from.name} sent`,
      { timeoutMs: 60_000 },
    );
  }
}

async function expectSame(): Promise<void> {
  const items = ["public.t", "public.u"];
  const [here, there] = await Promise.all([imagesOf(a, items), imagesOf(b, items)]);
  expect(here.map(sorted)).toEqual(there.map(sorted));
}

/** Have rows of t and u that a subscription writes logged, until that is undone. */
async function watchReplication() {
  for (const server of [a, b])
    await server.query(
      `create function note() returns trigger language plpgsql set search_path = pg_catalog as $$ begin
         if exists (select from pg_stat_activity s where s.pid = pg_backend_pid() and s.backend_type like 'logical replication%') then
           raise log 'replicated <%>', coalesce(new.id, old.id);
         end if;
         return null;
       end $$;
       create trigger note after insert or update or delete on t for each row execute function note();
       create trigger note after insert or update or delete on u for each row execute function note();
       alter table t enable always trigger note; alter table u enable always trigger note`,
    );
  return {
    seen: async (server: Server) =>
      [...(await server.log()).matchAll(/replicated <(\d+)>/g)].map((m) => Number(m[1])),
    end: async () => {
      for (const server of [a, b]) await server.query("drop function note() cascade");
    },
  };
}

const differ = async (rows = 400) => {
  for (const server of [a, b])
    await apart(server, `insert into t select g, 'same', null from generate_series(1, ${rows}) g`);
  await apart(
    a,
    `update t set v = 'a' where id % 4 = 0; delete from t where id % 10 = 1; insert into u values (1, 'a')`,
  );
  await apart(
    b,
    `update t set v = 'b' where id % 3 = 0; delete from t where id % 10 = 2; insert into u values (2, 'b')`,
  );
};

test("what a merge writes is not sent back, and raises no conflict", async () => {
  const logs = [(await a.log()).length, (await b.log()).length];
  await differ();
  const replication = await watchReplication();
  for (const args of [
    "strategy => 'prefer-local'",
    "strategy => 'prefer-remote', local_only => 'delete'",
  ]) {
    const row = await runMerge(a, b.uri(), { args });
    expect(row).toMatchObject({ error_message: null, status: "complete", rows_left: "0" });
    expect(Number(row.rows_merged)).toBeGreaterThan(50);
    await caughtUp();
    expect(await replication.seen(a)).toEqual([]);
    expect(await replication.seen(b)).toEqual([]);
    await expectSame();
    await apart(
      a,
      "insert into t select g, 'again', null from generate_series(5001, 5100) g; delete from u",
    );
  }
  for (const [i, server] of [a, b].entries())
    expect((await server.log()).slice(logs[i])).not.toContain("conflict detected");
  // what users write afterwards goes its way as before
  await a.query("update t set v = 'after' where id = 4; insert into t values (9000, 'new', null)");
  await b.query("delete from t where id = 8");
  await caughtUp();
  expect(await replication.seen(a)).toEqual([8]);
  expect(await replication.seen(b)).toEqual([4, 9000]);
  await replication.end();
  await runMerge(a, b.uri());
  await caughtUp();
  await expectSame();
  expect(await b.query("select v from t where id in (4, 8, 9000) order by id")).toEqual([
    { v: "after" },
    { v: "new" },
  ]);
});

/** Who may write a row: each writer has keys of its own, and shares others; the rest only differ. */
const owner = (id: number) => (["a", "b", "both", "nobody"] as const)[id % 4] ?? "nobody";

/** Writes until it is stopped; knows what its own rows have to be. */
class Writer {
  readonly written = new Map<number, string | null>();
  readonly #server: Server;
  readonly #name: "a" | "b";
  readonly #random: Random;
  readonly #rows: number;
  #stopped = false;
  #done: Promise<void> | undefined;

  constructor(server: Server, name: "a" | "b", seed: number, rows: number) {
    this.#server = server;
    this.#name = name;
    this.#random = createRandom(seed);
    this.#rows = rows;
  }

  start(): void {
    this.#done = this.#run();
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    await this.#done;
  }

  async #run(): Promise<void> {
    const session = await this.#server.connect();
    for (let n = 0; !this.#stopped; n++) {
      const id = this.#random.int(1, this.#rows);
      if (owner(id) === this.#name) await this.#writeOwn(session, id, `${this.#name} ${n}`);
      else if (owner(id) === "both") await this.#writeShared(session, id, `${this.#name} ${n}`);
    }
    await session.end();
  }

  async #writeOwn(session: Client, id: number, v: string): Promise<void> {
    const does = this.#random.next();
    if (does < 0.3) {
      await session.query("delete from t where id = $1", [id]);
      this.written.set(id, null);
      return;
    }
    const update = "update t set v = $2, writer = $3 where id = $1";
    const { rowCount } = await session.query(update, [id, v, this.#name]);
    if (rowCount === 0 && this.written.get(id) === undefined) return; // the other node's, so far
    if (rowCount === 0)
      await session.query("insert into t values ($1, $2, $3)", [id, v, this.#name]);
    this.written.set(id, v);
  }

  /** No inserts: two of one key would stop replication, merge or not. */
  async #writeShared(session: Client, id: number, v: string): Promise<void> {
    if (this.#random.next() < 0.1) await session.query("delete from t where id = $1", [id]);
    else await session.query("update t set v = $2 where id = $1", [id, v]);
  }
}

/** What writers wrote last of their own rows is on both nodes. */
async function expectOwnRows(writers: readonly Writer[]): Promise<void> {
  for (const server of [a, b]) {
    const rows = await server.query<{ id: number; v: string }>("select id, v from t");
    const found = new Map(rows.map((r) => [r.id, r.v]));
    const lost = writers.flatMap((writer) =>
      [...writer.written].filter(([id, v]) => (found.get(id) ?? null) !== v),
    );
    expect(lost, `seed ${random.seed}, ${server.name}`).toEqual([]);
  }
}

test("writers on both nodes lose nothing to merges that go on at the same time", async () => {
  const rows = 3000;
  await differ(rows);
  const writers = [
    new Writer(a, "a", random.int(1, 2 ** 31), rows),
    new Writer(b, "b", random.int(1, 2 ** 31), rows),
  ] as const;
  for (const writer of writers) writer.start();
  const merges: MergeRow[] = [];
  try {
    for (const strategy of ["prefer-local", "prefer-remote", "last-modified"]) {
      merges.push(await runMerge(a, b.uri(), { args: `strategy => '${strategy}'` }));
      await apart(a, `update t set v = 'a apart' where id % 4 = 3 and id % 5 = ${merges.length}`);
    }
  } finally {
    for (const writer of writers) await writer.stop();
  }
  for (const merge of merges)
    expect(merge, `seed ${random.seed}`).toMatchObject({ error_message: null, status: "complete" });
  expect(writers[0].written.size).toBeGreaterThan(20);
  expect(writers[1].written.size).toBeGreaterThan(20);
  await caughtUp();
  await expectOwnRows(writers);
  // shared rows may have crossed each other on their way, which replication alone does not mend
  expect(await runMerge(a, b.uri())).toMatchObject({
    error_message: null,
    status: "complete",
    rows_left: "0",
  });
  await caughtUp();
  await expectSame();
});

/** Disable both subscriptions, and wait until nobody uses their slots. */
async function disable(): Promise<void> {
  await a.query("alter subscription from_b disable");
  await b.query("alter subscription from_a disable");
  for (const server of [a, b])
    await waitUntil(
      () => server.query("select 1 from pg_replication_slots where active"),
      (active) => active.length === 0,
      `nobody reads from ${server.name}`,
    );
}

async function enable(): Promise<void> {
  await a.query("alter subscription from_b enable");
  await b.query("alter subscription from_a enable");
}

test("a backlog is refused by its names, and may be discarded by a merge of all that it is about", async () => {
  for (const server of [a, b])
    await apart(
      server,
      "insert into t values (1, 'old', null), (2, 'old', null), (3, 'old', null)",
    );
  await disable();
  try {
    await a.query("update t set v = 'A' where id < 3; insert into t values (10, 'A', null)");
    await b.query(
      "update t set v = 'B' where id < 3; insert into t values (11, 'B', null); delete from t where id = 3",
    );
    const refused = await runMerge(a, b.uri());
    expect(refused).toMatchObject({ status: "failed", error_sqlstate: "55000", rows_merged: "0" });
    expect(refused.error_message).toMatch(
      /slot from_a, subscription from_a at the peer \(disabled\), \d+ (bytes|kB) behind/,
    );
    expect(refused.error_message).toMatch(
      /peer: slot from_b, subscription from_b here \(disabled\), \d+ (bytes|kB) behind/,
    );
    expect(refused.error_hint).toContain("backlog => 'discard'");
    // what catches up where nothing is sent?
    expect(refused.error_hint).toContain("here: ALTER SUBSCRIPTION from_b ENABLE;");
    expect(refused.error_hint).toContain("at the peer: ALTER SUBSCRIPTION from_a ENABLE;");

    await a.query("insert into u values (500, 'only here')");
    const positions = "select slot_name, confirmed_flush_lsn from pg_replication_slots order by 1";
    const before = await a.query(positions);
    const partial = await runMerge(a, b.uri(), {
      tables: ["public.t", "public.marker"],
      args: "backlog => 'discard'",
    });
    expect(partial).toMatchObject({ status: "failed", error_sqlstate: "55000", rows_merged: "0" });
    expect(partial.error_message).toMatch(/leaves out differ: public\.u\b/);
    expect(await a.query(positions)).toEqual(before);
    await a.query("delete from u where id = 500");
    expect(await a.query("select v from t where id = 1")).toEqual([{ v: "A" }]);
    expect(await b.query("select v from t where id = 1")).toEqual([{ v: "B" }]);

    const tables = ["public.t", "public.u", "public.marker"];
    expect(await runMerge(a, b.uri(), { tables })).toMatchObject({
      status: "failed",
      error_sqlstate: "55000",
    });
    // u is equal: what waits of it is nothing to lose
    const row = await runMerge(a, b.uri(), {
      tables: ["public.t", "public.marker"],
      args: "backlog => 'discard'",
    });
    expect(row).toMatchObject({ error_message: null, status: "complete", rows_merged: "5" });
    await expectSame();
  } finally {
    await enable();
  }
  await caughtUp();
  for (const server of [a, b])
    expect(await server.query("select id, v from t order by id")).toEqual(
      [1, 2, 3, 10, 11].map((id) => ({ id, v: id === 3 ? "old" : id === 11 ? "B" : "A" })),
    );
});

test("what a role lacks to discard a backlog is named before anything is compared", async () => {
  await createRole(a, "postgres", "plain", "login");
  await b.query("create role plain login password 'of plain'");
  const origin = ["create", "drop", "session_setup", "session_reset", "xact_setup"];
  const onBoth = async (sql: string) => {
    for (const server of [a, b]) await server.query(sql);
  };
  await onBoth(
    `grant select, insert, update, delete on t, marker to plain; grant select, update on sequence marker_id_seq to plain;
     grant execute on function ${origin.map((f) => `pg_replication_origin_${f}`).join(", ")} to plain`,
  );
  const merge = () =>
    runMerge(a, `host=127.0.0.1 port=${b.port} dbname=postgres user=plain password='of plain'`, {
      user: "plain",
      tables: ["public.t", "public.marker"],
      args: "backlog => 'discard'",
    });
  await disable();
  try {
    await a.query("insert into t values (7, 'A', null)");
    expect(await merge()).toMatchObject({
      status: "failed",
      error_sqlstate: "42501",
      phase: "planning",
      error_message: expect.stringMatching(
        /: the REPLICATION attribute, public\.u \(UPDATE\), peer: the REPLICATION attribute, peer: public\.u \(SELECT, UPDATE\)$/,
      ),
      error_hint: expect.stringContaining("REPLICATION for the role that merges, and GRANT SELECT"),
    });
    await onBoth("alter role plain replication; grant select, update on u to plain");
    expect(await merge()).toMatchObject({
      ...{ error_message: null, status: "complete", rows_merged: "1" },
    });
  } finally {
    await enable();
  }
  await caughtUp();
  await onBoth("drop owned by plain; drop role plain");
});

test("rows that take values from each other are written together where a backlog is discarded", async () => {
  for (const server of [a, b])
    await server.query(
      `create table swapped (id int primary key, u int unique deferrable, v text);
       insert into swapped select g, g, 'same' from generate_series(1, 20) g;
       alter publication everything add table swapped`,
    );
  await a.query("alter subscription from_b refresh publication with (copy_data = false)");
  await b.query("alter subscription from_a refresh publication with (copy_data = false)");
  await disable();
  try {
    await a.query("update swapped set u = 21 - u, v = 'turned' where id between 6 and 15");
    await a.query("delete from swapped where id = 1; update swapped set u = 1 where id = 2");
    const row = await runMerge(a, b.uri(), {
      tables: null,
      args: "backlog => 'discard', remote_only => 'delete'",
    });
    expect(row).toMatchObject({ error_message: null, status: "complete", rows_merged: "12" });
    const [here, there] = await Promise.all([a, b].map((s) => imagesOf(s, ["public.swapped"])));
    expect(here?.map(sorted)).toEqual(there?.map(sorted));
  } finally {
    await enable();
  }
  await caughtUp();
  for (const server of [a, b]) await server.query("drop table swapped");
});

test("a table that is left out by name stays as it is, and does not keep a backlog", async () => {
  await apart(a, "insert into u values (1, 'old')");
  await apart(b, "insert into u values (1, 'old')");
  await disable();
  try {
    await a.query("update u set v = 'A'; insert into t values (1, 'A', null)");
    const row = await runMerge(a, b.uri(), {
      tables: null,
      args: "backlog => 'discard', exclude_tables => '{public.u}'",
    });
    expect(row).toMatchObject({ error_message: null, status: "complete", rows_merged: "1" });
    expect(row.warnings?.join("\n")).toContain("as they are on each side: public.u");
  } finally {
    await enable();
  }
  await caughtUp();
  expect(await b.query("select v from u")).toEqual([{ v: "old" }]);
});

test("writers may go on while a backlog is discarded: nothing that they committed is lost", async () => {
  for (const server of [a, b])
    await apart(server, "insert into t select g, 'old', null from generate_series(1, 4000) g");
  await disable();
  await a.query("update t set v = 'A' where id % 2 = 0");
  await b.query("update t set v = 'B' where id % 3 = 0");
  const stopped = { now: false };
  /** Rows of its own, which it inserts, updates and deletes: what it has committed of each last. */
  const write = async (server: Server, from: number) => {
    const session = await server.connect();
    const committed = new Map<number, string | null>();
    for (let i = 0; !stopped.now; i++) {
      const id = from + (i % 300);
      const v = `${from} ${i}`;
      if (i % 7 === 6) await session.query("delete from t where id = $1", [id]);
      else
        await session.query(
          "insert into t (id, v) values ($1, $2) on conflict (id) do update set v = excluded.v",
          [id, v],
        );
      committed.set(id, i % 7 === 6 ? null : v);
    }
    await session.end();
    return committed;
  };
  const writers = [write(a, 10_000), write(b, 20_000)];
  try {
    const row = await runMerge(a, b.uri(), { args: "backlog => 'discard'" });
    expect(row).toMatchObject({ error_message: null, status: "complete" });
    expect(Number(row.rows_merged)).toBeGreaterThan(2000);
    const left = await a.query<{ id: number }>(
      "select (key ->> 'id')::int as id from steep_repl.merge_rows_left($1)",
      [row.merge_id],
    );
    expect(left.filter(({ id }) => id < 10_000)).toEqual([]);
  } finally {
    stopped.now = true;
    await Promise.all(writers);
    await enable();
  }
  await caughtUp();
  // rows that changed while it ran are left to replication, which needs them on both sides, and to the next merge
  expect(await runMerge(a, b.uri())).toMatchObject({
    ...{ error_message: null, status: "complete" },
  });
  for (const [i, own] of [a, b].entries())
    for (const [id, v] of (await writers[i]) ?? [])
      expect(await own.query("select v from t where id = $1", [id]), `${id}`).toEqual(
        v === null ? [] : [{ v }],
      );
  await expectSame();
});

test("a dry run that would discard a backlog counts what the merge would do", async () => {
  for (const server of [a, b]) await apart(server, "insert into t values (1, 'old', null)");
  await disable();
  try {
    await a.query("update t set v = 'A'");
    await b.query("update t set v = 'B'; insert into t values (11, 'B', null)");
    const args = "backlog => 'discard', dry_run => true";
    const row = await runMerge(a, b.uri(), { args });
    expect(row).toMatchObject({ error_message: null, status: "complete" });
    expect(row).toMatchObject({ remote_only_count: "1", conflict_count: "1", rows_merged: "2" });
    expect(row.warnings).toEqual([expect.stringContaining("thrown away: from_a, peer: from_b (")]);
    expect(await a.query("select v from t")).toEqual([{ v: "A" }]);
  } finally {
    await enable();
  }
});

describe("a slot here that the peer says is its own", () => {
  let peer: LyingPeer;
  beforeEach(async () => {
    peer = await LyingPeer.before(b.port);
    await disable();
  });
  afterEach(async () => {
    await peer.close();
    await a.query("select pg_drop_replication_slot('third')");
    await enable();
  });
  const through = () =>
    `host=127.0.0.1 port=${peer.port} dbname=postgres user=postgres sslmode=disable`;
  const args = "backlog => 'discard'";
  /** From when on the peer says so. */
  const lie = (from: RegExp) => {
    let isTime = false;
    peer.fate = (query) => {
      isTime ||= from.test(query);
      return "told";
    };
    peer.lie = (text) => (isTime ? text.replaceAll('"from_a"', '"third"') : text);
  };
  const positionOf = () =>
    a.query(
      "select confirmed_flush_lsn::text as lsn from pg_replication_slots where slot_name = 'third'",
    );

  test("is another one's if it is of another plugin", async () => {
    await a.query("select pg_create_logical_replication_slot('third', 'test_decoding')");
    const before = await positionOf();
    lie(/./);
    const row = await runMerge(a, through(), { args });
    expect(row).toMatchObject({ status: "failed", error_sqlstate: "55000" });
    expect(row.error_message).toMatch(/other subscribers would miss the rows .*: from_a, third/s);
    expect(await positionOf()).toEqual(before);
  });

  test("is not moved on if it was not named before the merge began", async () => {
    await a.query("select pg_create_logical_replication_slot('third', 'pgoutput')");
    const before = await positionOf();
    lie(/lock table/);
    const row = await runMerge(a, through(), { args: `${args}, other_subscribers => 'ignore'` });
    expect(row).toMatchObject({ error_message: null, status: "complete" });
    expect(row.warnings?.join()).toContain("thrown away: from_a, peer: from_b (");
    expect(await positionOf()).toEqual(before);
  });
});

test("a subscription of one direction that is disabled is a backlog, too", async () => {
  await a.query("alter subscription from_b disable");
  try {
    await b.query("insert into t values (5, 'b', null)");
    const refused = await runMerge(a, b.uri());
    expect(refused).toMatchObject({ status: "failed", error_sqlstate: "55000", rows_merged: "0" });
    expect(refused.error_message).toContain(
      "peer: slot from_b, subscription from_b here (disabled)",
    );
  } finally {
    await a.query("alter subscription from_b enable");
  }
  await caughtUp();
  expect(await runMerge(a, b.uri())).toMatchObject({
    error_message: null,
    status: "complete",
    rows_merged: "0",
  });
});

test("a third node that would miss the rows is refused by its slot, or left to the caller", async () => {
  const c = await startServer({ name: "merge-pair-c", identity: "third", settings });
  try {
    await c.query(
      "create table t (id int primary key, v text, writer text); create table u (id int primary key, v text); create table marker (id int primary key, at timestamptz)",
    );
    await c.query(subscribe("third_node", a));
    await differ(40);
    const refused = await runMerge(a, b.uri());
    expect(refused).toMatchObject({ status: "failed", error_sqlstate: "55000", rows_merged: "0" });
    expect(refused.error_message).toContain("third_node");
    expect(refused.error_message).not.toContain("from_a");
    expect(refused.error_hint).toContain("other_subscribers => 'ignore'");
    const mirror = await runMerge(b, a.uri());
    expect(mirror).toMatchObject({ status: "failed", error_sqlstate: "55000" });
    expect(mirror.error_message).toContain("peer: third_node");
    const row = await runMerge(a, b.uri(), { args: "other_subscribers => 'ignore'" });
    expect(row).toMatchObject({ error_message: null, status: "complete" });
    await caughtUp();
    await caughtUp([a, c]);
    await expectSame();
    // it has missed them, as was said
    expect(await c.query("select 1 from t")).toEqual([]);
    await c.query("drop subscription third_node");
  } finally {
    await c.destroy();
  }
});

test("opposite merges that start at once both end, and leave both nodes the same", async () => {
  for (let round = 1; round <= 3; round++) {
    const says = `seed ${random.seed}, round ${round}`;
    for (const server of [a, b]) await apart(server, "truncate t, u");
    await differ(6000);
    const strategies = ["prefer-local", "prefer-remote"] as const;
    const args = () => `strategy => '${random.pick(strategies)}'`;
    const [one, two] = await Promise.all([
      startMerge(a, b.uri(), { args: args() }),
      startMerge(b, a.uri(), { args: args() }),
    ]);
    const ends = await Promise.all([
      endOfMerge(a, one, {}, 120_000),
      endOfMerge(b, two, {}, 120_000),
    ]);
    for (const end of ends)
      expect(end, says).toMatchObject({ error_message: null, status: "complete" });
    await caughtUp();
    await expectSame();
    const written = (await auditOf(a, one)).length + (await auditOf(b, two)).length;
    expect(written, says).toBe(ends.reduce((sum, end) => sum + Number(end.rows_merged), 0));
  }
});

test("subscriptions that would send merged rows back refuse a merge that writes to where they come from", async () => {
  await b.query("alter subscription from_a set (origin = any)");
  try {
    await apart(b, "insert into t values (1, 'b', null)");
    const pulling = await runMerge(a, b.uri());
    expect(pulling).toMatchObject({
      ...{ status: "failed", error_sqlstate: "55000", rows_merged: "0" },
      error_message: expect.stringContaining("from_a at the peer (of what comes here)"),
      error_hint: expect.stringContaining("SET (origin = none)"),
    });
    // to the peer only, which sends nothing of another origin
    const pushing = await runMerge(a, b.uri(), { args: "remote_only => 'keep'" });
    expect(pushing).toMatchObject({ error_message: null, status: "complete" });
  } finally {
    await b.query("alter subscription from_a set (origin = none)");
  }
  expect(await runMerge(a, b.uri())).toMatchObject({ error_message: null, status: "complete" });
  await caughtUp();
  await expectSame();
});

test("a slot that somebody else uses than the subscription that names it may be a third node's", async () => {
  const connect = (more: string) =>
    b.query(`alter subscription from_a connection '${a.uri()}${more}'`);
  await connect("?application_name=somebody");
  try {
    await waitUntil(
      () => a.query("select from pg_stat_replication where application_name = 'somebody'"),
      (rows) => rows.length === 1,
      "the subscription is connected by another name",
    );
    expect(await runMerge(a, b.uri())).toMatchObject({
      ...{ status: "failed", error_sqlstate: "55000" },
      error_message: expect.stringContaining(
        "from_a (used by somebody, and named by subscription from_a at the peer)",
      ),
    });
    expect(await runMerge(a, b.uri(), { args: "other_subscribers => 'ignore'" })).toMatchObject({
      ...{ error_message: null, status: "complete" },
    });
  } finally {
    await connect("");
  }
  await caughtUp();
});
