import { afterAll, beforeAll, expect, test, vi } from "vitest";
import { expectEqual, makePair, replicationObjects, startNodes } from "../../support/pair-nodes.ts";
import type { Server } from "../../support/server.ts";
import { waitUntil } from "../../support/wait-until.ts";

/* A third node: what two pairs do not bring it, and the third pair that does. */

vi.setConfig({ testTimeout: 120_000 });

let a: Server;
let b: Server;
let c: Server;

beforeAll(async () => {
  const nodes = await startNodes(["node_a", "node_b", "node_c"], { file: "pair-star" });
  a = nodes.node_a;
  b = nodes.node_b;
  c = nodes.node_c;
  await a.query(
    "create table t (id serial primary key, v text); insert into t (v) select 'v' || i from generate_series(1, 100) i",
  );
});
afterAll(async () => {
  for (const server of [a, b, c]) await server?.destroy();
});

test("three nodes, each of which replicates with each", async () => {
  expect(await makePair(a, "'node_b'")).toMatchObject({ status: "complete" });
  const [said] = await a.query<{ fix: string }>(
    "select fix from steep_repl.preflight('node_c') where side = 'local' and check_name = 'other subscriptions'",
  );
  const second = await makePair(a, "'node_c'");
  expect(second).toMatchObject({ status: "complete" });
  // what one gets from here has an origin, and is not sent on
  expect(second.warnings?.join("\n")).toContain("steep_node_a_from_node_b");
  await b.query("insert into t (v) values ('of b')");
  await waitUntil(
    () => a.query("select from t where v = 'of b'"),
    (rows) => rows.length === 1,
    "it has come here",
  );
  expect(await c.query("select from t where v = 'of b'")).toEqual([]);

  // the missing side of the triangle, as preflight has said it
  expect(said?.fix).toBe(
    "select steep_repl.start_pair('node_c', existing => 'merge'); -- at node_b, afterwards",
  );
  expect(await makePair(b, "'node_c', existing => 'merge'")).toMatchObject({
    status: "complete",
    error_message: null,
  });
  for (const server of [a, b, c]) await server.query("insert into t (v) values ('of all')");
  await expectEqual(a, b, ["t"]);
  await expectEqual(b, c, ["t"]);
  const numbers = async (server: Server) => {
    const [row] = await server.query<{ n: number }>("select (nextval('t_id_seq') % 10)::int as n");
    return row?.n;
  };
  expect(new Set(await Promise.all([a, b, c].map(numbers))).size).toBe(3);

  // each pair is taken down by itself
  await b.query("select * from steep_repl.drop_pair('node_c')");
  await a.query("select * from steep_repl.drop_pair('node_c')");
  await a.query("insert into t (v) values ('again')");
  await expectEqual(a, b, ["t"]);
  await a.query("select * from steep_repl.drop_pair('node_b')");
  for (const server of [a, b, c]) {
    expect(await replicationObjects(server)).toMatchObject({
      slots: [],
      subscriptions: [],
      publications: [],
    });
  }
});
