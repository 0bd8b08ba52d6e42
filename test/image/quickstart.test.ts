import type { StartedNetwork } from "testcontainers";
import { afterAll, beforeAll, expect, test } from "vitest";
import { applySnapshot } from "../support/apply.ts";
import {
  type Container,
  containerPassword,
  docker,
  startContainer,
  startNetwork,
} from "../support/container.ts";
import { endOfMerge, found, runMerge, startMerge } from "../support/merge.ts";
import { analyzeOverlap, brief, endOfOverlap } from "../support/overlap.ts";
import { digests, problems, takeSnapshot } from "../support/snapshots.ts";

const shop = { database: "shop" };
const snapshots = `steep-test-snapshots-${process.pid}`;
const path = "/snapshots/monday";
let network: StartedNetwork;
let a: Container;
let b: Container;

beforeAll(async () => {
  network = await startNetwork();
  await docker(["volume", "create", snapshots]);
  const common = { network, env: { POSTGRES_DB: "shop" }, volumes: { "/snapshots": snapshots } };
  [a, b] = await Promise.all([
    startContainer({ ...common, name: "node-a" }),
    startContainer({ ...common, name: "node-b" }),
  ]);
  await a.query(
    `create table customers (id int primary key, name text not null);
     create table orders (id int generated always as identity primary key,
                          customer int not null references customers, amount numeric not null);
     insert into customers select g, 'customer ' || g from generate_series(1, 500) g;
     insert into orders (customer, amount) select 1 + g % 500, g / 7.0 from generate_series(1, 20000) g`,
    [],
    shop,
  );
});
afterAll(async () => {
  await Promise.all([a?.destroy(), b?.destroy()]);
  await docker(["volume", "rm", "--force", snapshots]);
  await network?.stop();
});

test("a node registers itself and is healthy", async () => {
  await a.query("select * from steep_repl.register_node('node_a', 'Node A')", [], shop);
  for (const node of [a, b]) {
    const rows = await node.query("select status, reasons from steep_repl.health()", [], shop);
    expect(rows).toEqual([{ status: "healthy", reasons: [] }]);
    expect(await node.inspect(".State.Health.Status")).toBe("healthy");
  }
});

test("a snapshot of one node is applied to the other, through the volume that both have", async () => {
  await takeSnapshot(a, { ...shop, path, args: "parallel => 4" });
  expect(await problems(a, path, shop)).toEqual([]);
  await applySnapshot(b, path, { ...shop, args: "parallel => 4" });
  expect(await digests(b, "shop")).toEqual(await digests(a, "shop"));
});

test("stock pg_restore in the image reads it", async () => {
  const { stdout } = await b.exec(["pg_restore", "-l", path]);
  expect(stdout).toContain("TABLE DATA public orders");
});

test("a node reaches the other by its name and a foreign server's password", async () => {
  const quoted = containerPassword.replaceAll("'", "''");
  await a.query(
    `create server b foreign data wrapper dblink_fdw options (host 'node-b', dbname 'shop');
     create user mapping for public server b options (user 'postgres', password '${quoted}');
     select steep_repl.register_node('node_b', 'Node B', foreign_server => 'b')`,
    [],
    shop,
  );
  const counts = await analyzeOverlap(a, "node_b", {
    ...shop,
    tables: ["public.orders", "public.customers"],
  });
  expect(counts.map(brief).sort()).toEqual([
    [0, 0, 20000, 0, 0],
    [0, 0, 500, 0, 0],
  ]);
});

test("what differs is found, and merged", async () => {
  await a.query("insert into customers values (1001, 'only on a')", [], shop);
  await b.query("insert into customers values (1002, 'only on b')", [], shop);
  await b.query("update orders set amount = -1 where id in (7, 4711)", [], shop);

  const [started] = await a.query<{ operation_id: string }>(
    "select operation_id from steep_repl.start_overlap('node_b', null)",
    [],
    shop,
  );
  const overlap = await endOfOverlap(a, started?.operation_id ?? "", shop);
  expect(overlap).toMatchObject({ status: "complete", error_message: null });
  const conflicts =
    "select key from steep_repl.overlap_rows('node_b', 'public.orders', 'conflict')";
  expect(await a.query(conflicts, [], shop)).toHaveLength(2);

  const rehearsal = await runMerge(a, "node_b", { ...shop, args: "dry_run => true" });
  expect(found(rehearsal)).toEqual([1, 1, 20498, 2, 0]);
  const merge = await startMerge(a, "node_b", { ...shop, args: "strategy => 'prefer-remote'" });
  expect(await endOfMerge(a, merge, shop)).toMatchObject({ status: "complete", rows_merged: "4" });
  expect(await digests(b, "shop")).toEqual(await digests(a, "shop"));
});

test("schemas are compared across containers", async () => {
  await b.query("alter table customers add column note text", [], shop);
  const rows = await a.query(
    "select table_name, status from steep_repl.compare_fingerprints('node_a', 'node_b') where status <> 'match'",
    [],
    shop,
  );
  expect(rows).toEqual([{ table_name: "customers", status: "mismatch" }]);
});
