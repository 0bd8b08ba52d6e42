import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { registering, startNodes } from "../../support/pair-nodes.ts";
import type { Server } from "../../support/server.ts";

/* Whatever keeps two nodes from being a pair is said, by its own row and no other, with what to do about it; and that works. */

vi.setConfig({ testTimeout: 120_000 });

let a: Server;
let b: Server;

const tables = `
  create table t (id bigint generated always as identity primary key, v text);
  create table u (id int primary key)`;

beforeAll(async () => {
  const nodes = await startNodes(["node_a", "node_b"], { file: "preflight" });
  a = nodes.node_a;
  b = nodes.node_b;
  await a.query(tables);
});
afterAll(async () => {
  await a?.destroy();
  await b?.destroy();
});

type Row = {
  readonly side: "local" | "peer" | "both";
  readonly check_name: string;
  readonly status: string;
  readonly detail: string;
  readonly fix: string | null;
};

const rows = (args = "") =>
  a.query<Row>(`select * from steep_repl.preflight('node_b'${args}) where status <> 'ok'`);

const sides = { local: () => a, peer: () => b };

/** Do what a row says: SQL, each statement by itself, and a restart where it asks for one. What a definition lacks is asked here. */
async function follow(server: Server, fix: string): Promise<void> {
  const sql = fix.replace(/--.*/g, "");
  for (const statement of sql.split(";").filter((part) => part.trim() !== "")) {
    if (!statement.includes("suggested_sql")) {
      await server.query(statement);
      continue;
    }
    for (const { suggested_sql } of await a.query<{ suggested_sql: string }>(statement)) {
      await b.query(suggested_sql);
    }
  }
  if (fix.includes("then restart")) await server.restart();
}

interface Plant {
  readonly name: string;
  readonly side: "local" | "peer";
  /** where the row says it is, if elsewhere */
  readonly said?: "both";
  readonly check: string;
  readonly status: "warning" | "problem";
  readonly sql?: string;
  readonly setting?: string;
  readonly args?: string;
  /** what is left when the fix was followed */
  readonly after?: string;
  /** by hand, where the fix needs to be filled in */
  readonly undo?: string;
}

const plants: readonly Plant[] = [
  {
    name: "wal_level",
    side: "peer",
    check: "wal_level",
    status: "problem",
    setting: "wal_level = replica",
  },
  {
    name: "no slot is free",
    side: "local",
    check: "replication slots",
    status: "problem",
    setting: "max_replication_slots = 0",
  },
  {
    name: "no walsender is free",
    side: "peer",
    check: "walsenders",
    status: "problem",
    setting: "max_wal_senders = 0",
  },
  {
    name: "no origin is free",
    side: "peer",
    check: "replication origins",
    status: "problem",
    setting: "max_active_replication_origins = 0",
  },
  {
    name: "no worker may apply",
    side: "local",
    check: "logical replication workers",
    status: "problem",
    setting: "max_logical_replication_workers = 0",
  },
  {
    name: "few worker processes",
    side: "local",
    check: "worker processes",
    status: "problem",
    setting: "max_worker_processes = 8",
  },
  {
    name: "commit timestamps",
    side: "peer",
    check: "commit timestamps",
    status: "warning",
    setting: "track_commit_timestamp = off",
  },
  {
    name: "read-only",
    side: "peer",
    check: "read-write",
    status: "problem",
    sql: "alter system set default_transaction_read_only = on; select pg_reload_conf()",
  },
  {
    name: "slots lose WAL",
    side: "local",
    check: "slot retention",
    status: "warning",
    sql: "alter system set max_slot_wal_keep_size = '1GB'; select pg_reload_conf()",
  },
  {
    name: "idle slots are lost",
    side: "peer",
    check: "idle slots",
    status: "warning",
    sql: "alter system set idle_replication_slot_timeout = '1h'; select pg_reload_conf()",
  },
  {
    name: "all tables are published",
    side: "local",
    check: "publications of all tables",
    status: "problem",
    sql: `create publication "every""thing" for all tables`,
  },
  {
    name: "another subscription",
    side: "peer",
    check: "other subscriptions",
    status: "warning",
    sql: "create subscription other connection 'dbname=none' publication p with (connect = false)",
    undo: "alter subscription other set (slot_name = none); drop subscription other",
  },
  {
    name: "another slot",
    side: "local",
    check: "other slots",
    status: "warning",
    sql: "select pg_create_logical_replication_slot('other', 'pgoutput')",
    undo: "select pg_drop_replication_slot('other')",
  },
  {
    name: "a slot of that name in another database",
    side: "peer",
    check: "other slots",
    status: "problem",
    sql: "create database elsewhere; elsewhere: select pg_create_logical_replication_slot('steep_node_a_from_node_b', 'pgoutput')",
    undo: "elsewhere: select pg_drop_replication_slot('steep_node_a_from_node_b'); drop database elsewhere",
  },
  {
    name: "what an earlier pair left",
    side: "peer",
    check: "earlier pair",
    status: "warning",
    sql: "create publication steep_node_a_node_b",
    undo: "drop publication steep_node_a_node_b",
  },
  {
    name: "large objects",
    side: "local",
    check: "large objects",
    status: "warning",
    sql: "select lo_create(1)",
    undo: "select lo_unlink(1)",
  },
  {
    name: "a role is missing",
    side: "local",

    check: "roles",
    status: "warning",
    sql: `create role "o""ne"`,
    undo: `drop role "o""ne"`,
  },
  {
    name: "an extension is missing",
    side: "local",
    check: "extensions",
    status: "warning",
    sql: "create extension pg_trgm",
    undo: "drop extension pg_trgm",
  },
  {
    name: "an unlogged table",
    side: "local",
    check: "unlogged and foreign tables",
    status: "warning",
    sql: `create unlogged table "un""logged" (id int primary key)`,
    undo: `drop table "un""logged"`,
  },
  {
    name: "a foreign table",
    side: "local",
    check: "unlogged and foreign tables",
    status: "warning",
    sql: "create foreign table far (i int) server to_node_b",
    undo: "drop foreign table far",
  },
  {
    name: "no replica identity",
    side: "local",
    check: "replica identity",
    status: "problem",
    sql: "create table bare (id int)",
    undo: "drop table bare",
  },
  {
    name: "no key",
    side: "local",
    check: "primary key",
    status: "problem",
    sql: "create table whole (id int not null); alter table whole replica identity full",
    undo: "drop table whole",
  },
  {
    name: "a schema that the peer has not, with some tables only",
    side: "local",
    check: "schemas",
    status: "problem",
    args: ", tables => '{apart.z}'",
    sql: "create schema apart; create table apart.z (id int primary key)",
    undo: "drop schema apart cascade",
  },
  {
    name: "no replica identity of a partition",
    side: "local",
    check: "replica identity",
    status: "problem",
    sql: "create table p (id int not null) partition by list (id); create table p1 partition of p for values in (1)",
    undo: "drop table p",
  },
  {
    name: "triggers that always fire",
    side: "local",
    check: "triggers",
    status: "warning",
    sql: `create function f() returns trigger language plpgsql as 'begin return new; end'; create trigger "g""1" before insert on u for each row execute function f(); alter table u enable always trigger "g""1"`,
    after: "drop function f() cascade",
  },
  {
    name: "rows at the peer",
    side: "peer",
    check: "data",
    status: "problem",
    sql: `${tables}; insert into u values (1)`,
    undo: "drop table t, u",
  },
  {
    name: "some of the tables at the peer",
    side: "peer",
    check: "data",
    status: "problem",
    sql: "create table u (id int primary key)",
    undo: "drop table u",
  },
  {
    name: "another definition",
    side: "peer",
    said: "both",
    check: "definitions",
    status: "problem",
    sql: `${tables}; alter table t alter v set default 'v', add check (v <> '')`,
    after: "drop table t, u",
  },
  {
    name: "a key that is deferrable",
    side: "local",
    check: "replica identity",
    status: "problem",
    sql: "create table late (id int primary key deferrable)",
    after: "drop table late",
  },
  {
    name: "a partition that identifies no row, and has a key",
    side: "local",
    check: "replica identity",
    status: "problem",
    sql: "create table p (id int primary key) partition by list (id); create table p1 partition of p for values in (1); alter table p1 replica identity nothing",
    after: "drop table p",
  },
  {
    name: "a role is missing that owns a table",
    side: "local",
    // said of the peer
    check: "roles",
    status: "problem",
    sql: `create role "Odd Owner"; create table odd (id int primary key); alter table odd owner to "Odd Owner"`,
    undo: `drop table odd; drop role "Odd Owner"`,
  },
  {
    name: "transactions that go on",
    side: "peer",
    check: "transactions",
    status: "warning",
    sql: "begin; create table q (i int); prepare transaction 'long'; select pg_sleep(11)",
    undo: "rollback prepared 'long'",
  },
  {
    name: "a database that is read-only",
    side: "peer",
    check: "read-write",
    status: "problem",
    sql: "alter database postgres set default_transaction_read_only = on",
    undo: "begin read write; alter database postgres reset default_transaction_read_only; commit",
  },
  {
    name: "a table that the peer has not",
    side: "peer",
    check: "tables",
    status: "warning",
    args: ", existing => 'merge'",
    sql: "create table t (id bigint generated always as identity primary key, v text)",
    undo: "drop table t",
  },
  {
    name: "a small sequence",
    side: "local",
    check: "sequences",
    status: "problem",
    sql: "create table small (id smallserial primary key)",
    undo: "drop table small",
  },
  {
    name: "a sequence that begins anew",
    side: "local",
    check: "sequences",
    status: "problem",
    sql: "create sequence round cycle; create table r (id bigint primary key default nextval('round'))",
  },
  {
    name: "sequences are kept, and collide",
    side: "local",
    said: "both",
    check: "sequences",
    status: "warning",
    args: ", sequences => 'keep'",
  },
  {
    name: "the way back is not known",
    side: "peer",
    check: "way back",
    status: "problem",
    sql: "select steep_repl.remove_node('node_a')",
    undo: "RE-REGISTER",
  },
  {
    name: "the way back leads nowhere",
    side: "peer",
    check: "way back",
    status: "problem",
    sql: "alter server to_node_a options (set port '1')",
    undo: "RE-PORT",
  },
  {
    name: "another version",
    side: "peer",
    check: "steep_repl",
    status: "problem",
    sql: "drop extension steep_repl",
    undo: "RE-CREATE",
  },
];

/** Statements, some of which are for another database. */
async function run(server: Server, sql: string): Promise<void> {
  for (const part of sql.split(
    /; (?=elsewhere:|drop database)|(?<=create database elsewhere); |(?<=(?:alter system set [^;]*)); /,
  )) {
    const [, database, statement] = /^(elsewhere): (.*)$/s.exec(part) ?? [];
    await (database === undefined
      ? server.query(part)
      : server.query(statement ?? "", [], { database }));
  }
}

async function undo(server: Server, how: string): Promise<void> {
  const again: { readonly [how: string]: string } = {
    "RE-REGISTER":
      "select steep_repl.register_node('node_a', 'node_a', foreign_server => 'to_node_a')",
    "RE-PORT": `alter server to_node_a options (set port '${a.port}')`,
    "RE-CREATE": `create extension steep_repl; ${registering("node_a", a, "postgres")}`,
  };
  await run(server, again[how] ?? how);
}

test("two nodes as they should be: nothing is in the way", async () => {
  expect(await rows()).toEqual([]);
});

describe("each is found", () => {
  test.each(plants)("$name", async (plant) => {
    const server = sides[plant.side]();
    const args = plant.args ?? "";
    if (plant.setting !== undefined) {
      await server.query(`alter system set ${plant.setting}`);
      // a server without WAL senders may have no archive of them
      await server.restart();
    }
    if (plant.sql !== undefined) await run(server, plant.sql);
    const found = await rows(args);
    try {
      expect(found.map(({ check_name, status }) => ({ check_name, status }))).toEqual([
        { check_name: plant.check, status: plant.status },
      ]);
      expect(found[0]?.fix).toEqual(expect.any(String));
    } finally {
      if (plant.undo !== undefined) await undo(server, plant.undo);
      else if (plant.args === undefined)
        await follow(plant.said === "both" ? a : server, found[0]?.fix ?? "");
      if (plant.after !== undefined) await run(server, plant.after);
    }
    expect(await rows()).toEqual([]);
  });
});

test("the next value of a node's share, whatever the sequence", async () => {
  const wrong = await a.query(`
    select * from (
      select b.base, i.increment, n.number, steep_repl._pair_next_value(b.base, i.increment, n.number) as next
      from unnest('{-31,-10,-1,0,1,9,10,11,12345,9223372036854775000,-9223372036854775000}'::numeric[]) b(base),
        unnest('{10,-10,20,-50,1000}'::numeric[]) i(increment), generate_series(0, 9) n(number)) x
    where (next - base) * sign(increment) not between 1 and abs(increment)
       or mod(next - number * abs(increment) / 10, abs(increment)) <> 0`);
  expect(wrong).toEqual([]);
});
