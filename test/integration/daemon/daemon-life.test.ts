import { connect } from "node:http2";
import { connect as connectSocket } from "node:net";
import { join } from "node:path";
import { status } from "@grpc/grpc-js";
import { afterAll, beforeAll, expect, test } from "vitest";
import { startDaemon, type TestDaemon } from "../../support/grpc/daemon.ts";
import { type Message, WireClient } from "../../support/grpc/peer.ts";
import { createRandom } from "../../support/random.ts";
import { type Server, startServer } from "../../support/server.ts";
import { waitUntil } from "../../support/wait-until.ts";

/* What becomes of the daemon, of PostgreSQL and of jobs when one of them ends, or a client does as it likes. */

let server: Server;
beforeAll(async () => {
  server = await startServer({
    name: "daemon-life",
    settings: { "steep_repl.poll_interval": "1s", max_connections: 60 },
  });
  await server.query("create extension steep_repl cascade");
  await server.query(
    "create table big as select g, repeat('x', 500) as v from generate_series(1, 20000) g",
  );
});
afterAll(() => server.destroy());

/** A snapshot that waits for a lock, and its stream. */
async function blocked(daemon: TestDaemon, name: string) {
  const locker = await server.connect();
  await locker.query("begin; lock table big in access exclusive mode");
  const client = new WireClient("InitService", daemon.address);
  const stream = client.open("GenerateSnapshot", { output_path: join(server.home, name) });
  const end = new Promise<{ code: number }>((resolve) => {
    stream.on("error", resolve);
    stream.on("end", () => resolve({ code: status.OK }));
  });
  const first = await new Promise<Message>((resolve) => {
    stream.once("data", resolve);
  });
  stream.on("data", () => {});
  return {
    end,
    id: String(first.snapshot_id),
    release: async () => {
      await locker.end();
      client.close();
    },
  };
}

const untilComplete = (id: string) =>
  waitUntil(
    () => server.query("select status from steep_repl.snapshots where snapshot_id = $1", [id]),
    ([row]) => row?.status === "complete",
    `${id} is complete`,
    { timeoutMs: 20_000 },
  );

test("a stop ends streams with UNAVAILABLE, and the job goes on in the server", async () => {
  const daemon = await startDaemon(server);
  const { end, id, release } = await blocked(daemon, "stop");
  const stopped = daemon.stop();
  expect(await end).toMatchObject({ code: status.UNAVAILABLE });
  await stopped;
  expect(daemon.cli.printed).toContain("jobs go on in the server");
  await release();
  await untilComplete(id);
});

test("kill -9 of the daemon leaves the job, which its successor knows", async () => {
  const daemon = await startDaemon(server);
  const { end, id, release } = await blocked(daemon, "killed");
  await daemon.stop("SIGKILL");
  expect(await end).not.toMatchObject({ code: status.OK });
  await release();
  await untilComplete(id);
  const next = await startDaemon(server);
  const client = new WireClient("InitService", next.address);
  expect(await client.call("GetSnapshotProgress", { snapshot_id: id })).toMatchObject({
    ...{ has_progress: true, progress: { phase: "complete" } },
  });
  client.close();
  await next.stop();
});

test("while PostgreSQL is down RPCs answer UNAVAILABLE at once, and afterwards as before", async () => {
  const daemon = await startDaemon(server);
  const client = new WireClient("Coordinator", daemon.address);
  expect((await client.call("HealthCheck")).status).toBe("SERVING");
  await server.kill9();
  const began = performance.now();
  await expect(client.call("HealthCheck")).rejects.toMatchObject({ code: status.UNAVAILABLE });
  await expect(client.call("GetNodes")).rejects.toMatchObject({ code: status.UNAVAILABLE });
  expect(performance.now() - began).toBeLessThan(2000);
  expect(await daemon.http("/ready")).toMatchObject({ status: 503 });
  expect(await daemon.http("/live")).toMatchObject({ status: 200 });
  await server.start();
  await waitUntil(
    () => client.call("HealthCheck").catch(() => undefined),
    (answer) => answer?.status === "SERVING",
    "the daemon has found its server again",
  );
  client.close();
  await daemon.stop();
});

test("200 clients at once are answered, with the sessions that it has", async () => {
  const daemon = await startDaemon(server);
  const clients = Array.from({ length: 200 }, () => new WireClient("Coordinator", daemon.address));
  const answers = await Promise.all(clients.map((client) => client.call("HealthCheck")));
  expect(answers.every((answer) => answer.status === "SERVING")).toBe(true);
  const [row] = await server.query<{ n: number }>(
    "select count(*)::int as n from pg_stat_activity where application_name like 'steep-repl%'",
  );
  expect(row?.n).toBeLessThanOrEqual(20);
  for (const client of clients) client.close();
  await daemon.stop();
});

test("progress comes at the interval that was asked for", async () => {
  const daemon = await startDaemon(server);
  const { id, release } = await blocked(daemon, "interval");
  const client = new WireClient("InitService", daemon.address);
  const times: Record<number, number[]> = { 200: [], 1000: [] };
  const streams = [200, 1000].map((interval_ms) => {
    const stream = client.open("StreamSnapshotProgress", { snapshot_id: id, interval_ms });
    stream.on("error", () => {});
    stream.on("data", () => times[interval_ms]?.push(performance.now()));
    return stream;
  });
  await waitUntil(
    () => times[1000]?.length ?? 0,
    (n) => n >= 3,
    "three messages a second apart came",
  );
  for (const stream of streams) stream.cancel();
  const gaps = (list: number[] = []) => list.slice(1).map((t, i) => t - (list[i] ?? 0));
  expect(Math.min(...gaps(times[1000]))).toBeGreaterThan(900);
  expect(Math.min(...gaps(times[200]))).toBeGreaterThan(150);
  expect(times[200]?.length).toBeGreaterThan((times[1000]?.length ?? 0) + 2);
  await release();
  await untilComplete(id);
  client.close();
  await daemon.stop();
});

test("a client that reads slowly gets all of a stream, and holds up nobody", async () => {
  const daemon = await startDaemon(server);
  const { end, id, release } = await blocked(daemon, "slow");
  const client = new WireClient("InitService", daemon.address);
  const stream = client.open("StreamSnapshotProgress", { snapshot_id: id, interval_ms: 100 });
  stream.pause();
  const coordinator = new WireClient("Coordinator", daemon.address);
  for (let i = 0; i < 20; i++) await coordinator.call("HealthCheck");
  await release();
  await untilComplete(id);
  const last = await new Promise<Message | undefined>((resolve) => {
    let message: Message | undefined;
    stream.on("data", (m: Message) => {
      message = m;
    });
    stream.on("end", () => resolve(message));
    stream.resume();
  });
  expect(last?.progress).toMatchObject({ phase: "complete" });
  expect(await end).toBeDefined();
  client.close();
  coordinator.close();
  await daemon.stop();
});

test("frames that are none, and messages that are too long, are refused, and cost little memory", async () => {
  const random = createRandom();
  const daemon = await startDaemon(server);
  const bytes = (n: number) => Buffer.from(Array.from({ length: n }, () => random.int(0, 255)));
  const preface = Buffer.from("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
  const garble = () =>
    new Promise<void>((resolve) => {
      const socket = connectSocket(daemon.port, "127.0.0.1");
      socket.on("error", () => resolve());
      socket.on("close", () => resolve());
      const garbage = bytes(random.int(0, 3000));
      socket.write(random.next() < 0.7 ? Buffer.concat([preface, garbage]) : garbage);
      socket.end();
      socket.setTimeout(500, () => socket.destroy());
    });
  const inTens = async (times: number, action: () => Promise<void>) => {
    for (let i = 0; i < times; i += 10) await Promise.all(Array.from({ length: 10 }, action));
  };
  await inTens(100, garble);
  await inTens(50, async () => {
    const session = connect(`http://${daemon.address}`);
    session.on("error", () => {});
    const call = session.request({
      ":method": "POST",
      ":path": random.pick([
        "/steep.repl.v1.Coordinator/HealthCheck",
        "/steep.repl.v1.InitService/GenerateSnapshot",
        "/steep.repl.v1.InitService/Nothing",
        "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
      ]),
      "content-type": random.pick(["application/grpc", "application/json", "text/plain"]),
      te: "trailers",
    });
    call.on("error", () => {});
    const length = random.pick([0, 5, 1e6, 2 ** 31 - 1, 2 ** 32 - 1]);
    const head = Buffer.alloc(5);
    head.writeUInt32BE(length, 1);
    head[0] = random.pick([0, 0, 1, 7]);
    call.end(Buffer.concat([head, bytes(random.int(0, 2000))]));
    call.resume();
    await new Promise((resolve) => {
      call.on("close", resolve);
      setTimeout(resolve, 1000);
    });
    session.destroy();
  });
  const client = new WireClient("InitService", daemon.address);
  const huge = "x".repeat(8 * 1024 * 1024);
  await expect(client.call("GetSnapshotProgress", { snapshot_id: huge })).rejects.toMatchObject({
    code: status.RESOURCE_EXHAUSTED,
  });
  expect(await client.call("GetSnapshotProgress", { snapshot_id: "none" })).toMatchObject({
    has_progress: false,
  });
  client.close();
  expect(await daemon.residentMb()).toBeLessThan(250);
  await daemon.stop();
  expect(daemon.cli.printed).not.toMatch(/at .*steep-repl\.cjs/);
});
