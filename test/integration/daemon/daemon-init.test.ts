import { afterAll, beforeAll, expect, test, vi } from "vitest";
import { startDaemon, type TestDaemon } from "../../support/grpc/daemon.ts";
import { WireClient } from "../../support/grpc/peer.ts";
import { endOfPair, expectEqual, startNodes } from "../../support/pair-nodes.ts";
import type { Server } from "../../support/server.ts";

/* The RPCs for a new node, as a client of the predecessor calls them: pairs. */

vi.setConfig({ testTimeout: 60_000 });

let a: Server;
let b: Server;
let daemon: TestDaemon;
let init: WireClient;

beforeAll(async () => {
  const nodes = await startNodes(["node_a", "node_b"], { file: "daemon-init" });
  a = nodes.node_a;
  b = nodes.node_b;
  await a.query(
    `create table t (id int primary key, v text); insert into t select i, 'v' from generate_series(1, 100) i;
     select steep_repl.register_node('node_a', 'node_a', '127.0.0.1', ${a.port}, 50, 'postgres', 'postgres');
     select steep_repl.node_status(probe => true)`,
  );
  daemon = await startDaemon(a);
  init = new WireClient("InitService", daemon.address);
});
afterAll(async () => {
  init?.close();
  await daemon?.stop();
  await a?.destroy();
  await b?.destroy();
});

const latest = async () => {
  const [row] = await a.query<{ id: string }>(
    "select pair_id as id from steep_repl.pairs order by created_at desc limit 1",
  );
  return endOfPair(a, row?.id ?? "");
};
const nodes = { target_node_id: "node_b", source_node_id: "node_a" };

test("StartInit fills a node, and its progress is streamed to the end", async () => {
  expect(await init.call("GetProgress", { node_id: "node_b" })).toMatchObject({
    has_progress: false,
  });
  expect(await init.call("PrepareInit", { node_id: "node_b" })).toMatchObject({
    success: false,
    error: expect.stringContaining("there is no table to replicate"),
  });
  expect(await init.call("StartInit", { ...nodes, method: "INIT_METHOD_SNAPSHOT" })).toMatchObject({
    success: true,
    error: "",
    state: "INIT_STATE_PREPARING",
  });
  const { messages } = await init.stream("StreamProgress", { node_id: "node_b", interval_ms: 100 });
  expect(messages.at(-1)).toMatchObject({
    progress: {
      ...{ node_id: "node_b", state: "INIT_STATE_SYNCHRONIZED", phase: "complete" },
      ...{ overall_percent: 100, tables_total: 1, tables_completed: 1, error_message: "" },
    },
  });
  await expectEqual(a, b, ["t"]);
});

test("StartReinit makes both equal again, and CompleteInit takes up what was filled by hand", async () => {
  await b.query(
    "alter subscription steep_node_b_from_node_a disable; update t set v = 'b' where id = 1",
  );
  await a.query("update t set v = 'a' where id = 1");
  expect(
    await init.call("StartReinit", {
      node_id: "node_b",
      scope: { tables: { tables: ["public.t"] } },
    }),
  ).toMatchObject({ success: true, state: "INIT_STATE_REINITIALIZING", tables_affected: 1 });
  expect(await latest()).toMatchObject({ status: "complete" });
  expect(await b.query("select v from t where id = 1")).toEqual([{ v: "a" }]);

  await a.query("select * from steep_repl.drop_pair('node_b')");
  await a.query("insert into t values (101, 'meanwhile')");
  expect(await init.call("PrepareInit", { node_id: "node_b" })).toMatchObject({
    ...{ success: true, error: "", lsn: expect.stringMatching(/^[0-9A-F]+\/[0-9A-F]+$/) },
  });
  expect(await init.call("CompleteInit", nodes)).toMatchObject({ success: true });
  expect(await latest()).toMatchObject({ status: "complete" });
  await expectEqual(a, b, ["t"]);
});

test("what cannot be is said", async () => {
  expect(await init.call("CancelInit", { node_id: "node_b" })).toMatchObject({
    ...{ success: false, previous_state: "INIT_STATE_SYNCHRONIZED" },
    error: expect.stringContaining("is being set up"),
  });
  expect(await init.call("StartInit", nodes)).toMatchObject({ success: true });
  expect(await latest()).toMatchObject({ status: "failed" });
  expect(await init.call("GetProgress", { node_id: "node_b" })).toMatchObject({
    has_progress: true,
    progress: {
      state: "INIT_STATE_FAILED",
      error_message: expect.stringContaining("rows at the peer"),
    },
  });
  await expect(
    init.call("StartInit", { target_node_id: "node_a", source_node_id: "node_b" }),
  ).rejects.toMatchObject({ details: expect.stringContaining("node_b") });
  expect(await init.call("StartInit", { ...nodes, target_node_id: "nobody" })).toMatchObject({
    success: false,
    error: expect.stringContaining("registered node"),
  });
  await expect(init.call("GetProgress", {})).rejects.toMatchObject({
    details: expect.stringContaining("node_id is missing"),
  });
});
