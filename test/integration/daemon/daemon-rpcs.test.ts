import { readdir } from "node:fs/promises";
import { join } from "node:path";
import {
  credentials,
  loadPackageDefinition,
  type ServiceClientConstructor,
  status,
} from "@grpc/grpc-js";
import { loadSync } from "@grpc/proto-loader";
import { GrpcReflection } from "grpc-js-reflection-client";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type CliPair, setCliPair } from "../../support/cli-pair.ts";
import { startDaemon, type TestDaemon } from "../../support/grpc/daemon.ts";
import { WireClient } from "../../support/grpc/peer.ts";
import { inProject } from "../../support/pg.ts";

/* Each RPC, as a client of another library that knows the predecessor's contract sees it. */

let pair: CliPair;
setCliPair("daemon-rpcs", (p) => {
  pair = p;
});

let daemon: TestDaemon;
let init: WireClient;
let coordinator: WireClient;
beforeAll(async () => {
  daemon = await startDaemon(pair.a);
  init = new WireClient("InitService", daemon.address);
  coordinator = new WireClient("Coordinator", daemon.address);
});
afterAll(async () => {
  init.close();
  coordinator.close();
  await daemon.stop();
});

describe("Coordinator", () => {
  test("HealthCheck says what health() says, part by part", async () => {
    expect(await coordinator.call("HealthCheck")).toMatchObject({
      status: "SERVING",
      ...{ node_id: "node-a", node_name: "A", version: expect.stringMatching(/^\d+\.\d+\.\d+$/) },
      components: {
        postgresql: {
          healthy: true,
          status: "healthy",
          message: expect.stringMatching(/^PostgreSQL 1/),
        },
        background_worker: { healthy: true },
        js_engine: { healthy: true },
      },
    });
  });

  test("RegisterNode registers, GetNodes lists", async () => {
    const answer = await coordinator.call("RegisterNode", {
      ...{ node_id: "node-c", node_name: "C", host: "192.0.2.1", port: 5433, priority: 7 },
    });
    expect(answer).toMatchObject({ success: true, error: "", coordinator_id: "" });
    const { nodes } = (await coordinator.call("GetNodes")) as { nodes: unknown[] };
    expect(nodes).toHaveLength(3);
    expect(nodes).toContainEqual(
      expect.objectContaining({
        ...{ node_id: "node-c", node_name: "C", host: "192.0.2.1", port: 5433, priority: 7 },
      }),
    );
    await pair.a.query("select steep_repl.remove_node('node-c')");
  });

  test("Heartbeat knows which nodes there are", async () => {
    expect(await coordinator.call("Heartbeat", { node_id: "node-b" })).toMatchObject({
      acknowledged: true,
    });
    expect(await coordinator.call("Heartbeat", { node_id: "nobody" })).toMatchObject({
      acknowledged: false,
    });
  });

  test("SyncNodeMetadata renames", async () => {
    expect(
      await coordinator.call("SyncNodeMetadata", {
        metadata: { node_id: "node-b", node_name: "Bee", priority: 51 },
      }),
    ).toEqual({ success: true, error: "" });
    expect(
      await pair.a.query(
        "select node_name, priority, host from steep_repl.nodes where node_id = 'node-b'",
      ),
    ).toEqual([{ node_name: "Bee", priority: 51, host: "127.0.0.1" }]);
  });

  test.each([
    ["RegisterNode", {}, "node_id is missing"],
    ["Heartbeat", {}, "node_id is missing"],
    ["SyncNodeMetadata", {}, "metadata is missing"],
  ])("%s without arguments is INVALID_ARGUMENT", async (method, request, details) => {
    await expect(coordinator.call(method, request)).rejects.toMatchObject({
      ...{ code: status.INVALID_ARGUMENT, details },
    });
  });
});

describe("snapshots", () => {
  let path: string;
  beforeAll(() => {
    path = join(pair.a.home, "by-rpc");
  });

  test("GenerateSnapshot streams its progress to the end, and the files are there", async () => {
    const { messages, error } = await init.stream("GenerateSnapshot", {
      ...{ source_node_id: "node-a", output_path: path, parallel_workers: 2, compression: "gzip" },
    });
    expect(error).toBeUndefined();
    expect(messages.at(-1)).toMatchObject({ complete: true, error: "", overall_percent: 100 });
    expect(messages.at(-1)?.lsn).toMatch(/^[0-9A-F]+\/[0-9A-F]+$/);
    expect(await readdir(path)).toContain("manifest.json");
  });

  test("its progress can be asked for, and streamed, afterwards", async () => {
    const [row] = await pair.a.query<{ id: string }>(
      "select snapshot_id as id from steep_repl.snapshots order by started_at desc limit 1",
    );
    const request = { snapshot_id: row?.id };
    expect(await init.call("GetSnapshotProgress", request)).toMatchObject({
      has_progress: true,
      progress: {
        phase: "complete",
        overall_percent: 100,
        compression_enabled: true,
        error_message: "",
      },
    });
    const some = await init.stream("StreamSnapshotProgress", {
      ...request,
      include_completed: true,
    });
    expect(some).toMatchObject({ error: undefined });
    expect(some.messages).toHaveLength(1);
    expect((await init.stream("StreamSnapshotProgress", request)).messages).toHaveLength(0);
    expect(await init.call("GetSnapshotProgress", { snapshot_id: "none" })).toMatchObject({
      has_progress: false,
    });
  });

  test("ApplySnapshot loads it into an empty database", async () => {
    await pair.a.query("create database target");
    await pair.a.query("create extension steep_repl cascade", [], { database: "target" });
    const there = await startDaemon(pair.a, { database: "target" });
    const client = new WireClient("InitService", there.address);
    const { messages, error } = await client.stream("ApplySnapshot", {
      ...{ target_node_id: "node-a", input_path: path, verify_checksums: true },
    });
    client.close();
    await there.stop();
    expect(error).toBeUndefined();
    expect(messages.at(-1)).toMatchObject({ complete: true, error: "" });
    expect(
      await pair.a.query("select count(*)::int as n from orders", [], { database: "target" }),
    ).toEqual([{ n: 20 }]);
  });

  test("a snapshot that fails sends a message with the error, then INTERNAL", async () => {
    const { messages, error } = await init.stream("GenerateSnapshot", { output_path: path });
    expect(messages.at(-1)).toMatchObject({ complete: false, error: expect.stringMatching(/\w/) });
    expect(error).toMatchObject({ code: status.INTERNAL });
  });

  test.each(["GenerateSnapshot", "ApplySnapshot", "StreamSnapshotProgress"])(
    "%s without arguments is INVALID_ARGUMENT",
    async (method) => {
      const { messages, error } = await init.stream(method);
      expect(messages).toEqual([]);
      expect(error).toMatchObject({ code: status.INVALID_ARGUMENT });
    },
  );

  test("cutting the stream cancels the snapshot", async () => {
    await pair.a.query(
      "create table big as select g, repeat('x', 500) as v from generate_series(1, 200000) g",
    );
    const locker = await pair.a.connect();
    await locker.query("begin; lock table big in access exclusive mode");
    const stream = init.open("GenerateSnapshot", { output_path: join(pair.a.home, "cut") });
    stream.on("error", () => {});
    const first = await new Promise<{ snapshot_id: string }>((resolve) => {
      stream.once("data", resolve);
    });
    stream.cancel();
    await expect
      .poll(
        () =>
          pair.a.query("select status from steep_repl.snapshots where snapshot_id = $1", [
            first.snapshot_id,
          ]),
        { timeout: 20_000 },
      )
      .toEqual([{ status: "cancelled" }]);
    await locker.end();
    await pair.a.query("drop table big");
  });
});

describe("schemas", () => {
  test("GetSchemaFingerprints, of all schemas or some", async () => {
    const all = await init.call("GetSchemaFingerprints");
    expect(all).toMatchObject({ success: true, error: "" });
    expect(all.fingerprints).toContainEqual(
      expect.objectContaining({
        ...{
          schema_name: "public",
          table_name: "orders",
          fingerprint: expect.stringMatching(/^[0-9a-f]{64}$/),
        },
      }),
    );
    expect(await init.call("GetSchemaFingerprints", { schemas: ["none"] })).toMatchObject({
      ...{ success: true, fingerprints: [] },
    });
  });

  test("CaptureFingerprints keeps them", async () => {
    expect(await init.call("CaptureFingerprints", { node_id: "node-a" })).toMatchObject({
      ...{ success: true, table_count: 2 },
    });
  });

  test("CompareSchemas and GetColumnDiff", async () => {
    await pair.b.query("alter table orders add extra int");
    expect(
      await init.call("CompareSchemas", { local_node_id: "node-a", remote_node_id: "node-b" }),
    ).toMatchObject({
      ...{
        success: true,
        mismatch_count: 1,
        local_only_count: 1,
        match_count: 0,
        remote_only_count: 0,
      },
    });
    expect(
      await init.call("GetColumnDiff", {
        ...{ peer_node_id: "node-b", table_schema: "public", table_name: "orders" },
      }),
    ).toMatchObject({
      success: true,
      differences: [{ column_name: "extra", local_definition: "", remote_definition: "integer" }],
    });
    await pair.b.query("alter table orders drop extra");
  });

  test("a failure is OK with success = false and the error", async () => {
    expect(
      await init.call("CompareSchemas", { local_node_id: "node-a", remote_node_id: "nobody" }),
    ).toMatchObject({ success: false, error: expect.stringContaining("nobody") });
  });
});

describe("StartBidirectionalMerge", () => {
  const request = { node_a_id: "node-a", node_b_id: "node-b", tables: ["public.orders"] };

  test("a dry run counts, and a merge merges", async () => {
    const counts = {
      ...{ schema: "public", table: "orders", rows_a_only: "20", rows_b_only: "1" },
      ...{ rows_conflict: "0", rows_identical: "0" },
    };
    expect(await init.call("StartBidirectionalMerge", { ...request, dry_run: true })).toMatchObject(
      { success: true, error: "", result: { table_results: [counts] } },
    );
    expect(await pair.b.query("select count(*)::int as n from orders")).toEqual([{ n: 1 }]);
    expect(await init.call("StartBidirectionalMerge", request)).toMatchObject({
      success: true,
      result: {
        ...{ tables_processed: "1", rows_transferred_a_to_b: "20", rows_transferred_b_to_a: "1" },
        table_results: [counts],
      },
    });
    expect(await pair.b.query("select count(*)::int as n from orders")).toEqual([{ n: 21 }]);
  });

  test("node A may be the other one: its rows win there", async () => {
    await pair.a.query("update orders set note = 'ours' where id = 1");
    await pair.b.query("update orders set note = 'theirs' where id = 1");
    expect(
      await init.call("StartBidirectionalMerge", {
        ...{ node_a_id: "node-b", node_b_id: "node-a", tables: ["public.orders"] },
        strategy: "CONFLICT_STRATEGY_PREFER_NODE_A",
      }),
    ).toMatchObject({
      ...{ success: true, error: "" },
      result: { rows_transferred_a_to_b: "1", rows_transferred_b_to_a: "0" },
    });
    expect(await pair.a.query("select note from orders where id = 1")).toEqual([
      { note: "theirs" },
    ]);
  });

  test("what fails is said", async () => {
    expect(
      await init.call("StartBidirectionalMerge", { ...request, tables: ["public.nothing"] }),
    ).toMatchObject({ success: false, error: expect.stringContaining("public.nothing") });
  });
});

describe("health and reflection", () => {
  test.each(["/health", "/ready", "/readyz", "/live", "/livez"])("GET %s", async (path) => {
    expect(await daemon.http(path)).toMatchObject({ status: 200 });
  });

  test("GET /metrics counts for Prometheus", async () => {
    const { status: code, body } = await daemon.http("/metrics");
    expect(code).toBe(200);
    for (const line of [
      "steep_repl_postgresql_up 1",
      'steep_repl_health{status="healthy"} 1',
      'steep_repl_jobs{status="running"} 0',
      "# TYPE steep_repl_daemon_sessions gauge",
    ])
      expect(body.split("\n")).toContain(line);
    // the format: a comment, or a name with labels and a number
    for (const line of body.trimEnd().split("\n"))
      expect(line).toMatch(/^(# (HELP|TYPE) \w+ .+|[a-z_]+(\{[a-z]+="[^"]*"\})? \d+)$/);
  });

  test("the standard health service answers the standard client", async () => {
    const Health = loadPackageDefinition(
      loadSync(inProject("node_modules/grpc-health-check/proto/health/v1/health.proto")),
    ) as unknown as { grpc: { health: { v1: { Health: ServiceClientConstructor } } } };
    const client = new Health.grpc.health.v1.Health(
      daemon.address,
      credentials.createInsecure(),
    ) as unknown as Record<
      "check",
      (request: object, done: (...answer: unknown[]) => void) => void
    >;
    const check = (service: string) =>
      new Promise((resolve) => {
        client.check({ service }, (error, answer) =>
          resolve(error ? (error as { code: number }).code : (answer as { status: number }).status),
        );
      });
    expect(await check("")).toBe(1);
    expect(await check("steep.repl.v1.InitService")).toBe(1);
    expect(await check("nothing")).toBe(status.NOT_FOUND);
    (client as unknown as { close(): void }).close();
  });

  test("reflection lists the services, and describes their methods", async () => {
    const client = new GrpcReflection(
      daemon.address,
      credentials.createInsecure(),
      undefined,
      "v1",
    );
    expect([...(await client.listServices())].sort()).toEqual([
      "grpc.health.v1.Health",
      "grpc.reflection.v1.ServerReflection",
      "steep.repl.v1.Coordinator",
      "steep.repl.v1.InitService",
    ]);
    const methods = await client.listMethods("steep.repl.v1.Coordinator");
    expect(methods.map((m) => m.name)).toContain("HealthCheck");
  });

  test("other paths are not found", async () => {
    expect(await daemon.http("/etc")).toMatchObject({ status: 404 });
  });
});
