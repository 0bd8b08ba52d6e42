import type { StartedNetwork } from "testcontainers";
import { afterAll, beforeAll, expect, test } from "vitest";
import {
  type Container,
  containerPassword,
  startContainer,
  startNetwork,
} from "../support/container.ts";
import { waitUntil } from "../support/wait-until.ts";

/* A pair of two containers that share nothing but a network. */

const shop = { database: "shop" };
let network: StartedNetwork;
let a: Container;
let b: Container;

beforeAll(async () => {
  network = await startNetwork();
  const common = {
    network,
    env: { POSTGRES_DB: "shop" },
    settings: { wal_level: "logical", track_commit_timestamp: "on", max_worker_processes: 24 },
  };
  [a, b] = await Promise.all([
    startContainer({ ...common, name: "pair-a" }),
    startContainer({ ...common, name: "pair-b" }),
  ]);
  await a.query(
    `create table orders (id int generated always as identity primary key, amount numeric not null);
     insert into orders (amount) select g / 7.0 from generate_series(1, 20000) g`,
    [],
    shop,
  );
  const quoted = containerPassword.replaceAll("'", "''");
  for (const [node, other] of [
    [a, "b"],
    [b, "a"],
  ] as const)
    await node.query(
      `create server node_${other} foreign data wrapper dblink_fdw options (host 'pair-${other}', dbname 'shop');
       create user mapping for current_user server node_${other} options (user 'postgres', password '${quoted}');
       select steep_repl.register_node('node_${other}', 'Node', foreign_server => 'node_${other}')`,
      [],
      shop,
    );
});
afterAll(async () => {
  await Promise.all([a?.destroy(), b?.destroy()]);
  await network?.stop();
});

test("one call fills the empty one over the network, and both replicate", async () => {
  const [started] = await a.query<{ id: string }>(
    "select pair_id as id from steep_repl.start_pair('node_b')",
    [],
    shop,
  );
  const ended = await a.query(
    "select status, error_message, error_hint from steep_repl.wait_pair($1, 120)",
    [started?.id],
    shop,
  );
  expect(ended).toEqual([{ status: "complete", error_message: null, error_hint: null }]);
  await a.query("insert into orders (amount) values (1)", [], shop);
  await b.query("insert into orders (amount) values (2)", [], shop);
  const count = (node: Container) =>
    node.query<{ n: number }>("select count(*)::int as n from orders", [], shop);
  await waitUntil(
    () => Promise.all([count(a), count(b)]),
    ([here, there]) => here[0]?.n === 20002 && there[0]?.n === 20002,
    "each has the other's row",
  );
  const dropped = await a.query<{ dropped: boolean }>(
    "select dropped from steep_repl.drop_pair('node_b') where object !~ '^snapshot'",
    [],
    shop,
  );
  expect(dropped.map((row) => row.dropped)).toEqual(Array.from({ length: 6 }, () => true));
});
