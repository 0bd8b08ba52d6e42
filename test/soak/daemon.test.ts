import { readdir, rm } from "node:fs/promises";
import { join } from "node:path";
import { status } from "@grpc/grpc-js";
import { afterAll, beforeAll, expect, test } from "vitest";
import { startDaemon } from "../support/grpc/daemon.ts";
import { WireClient } from "../support/grpc/peer.ts";
import { descendants, signal } from "../support/processes.ts";
import { type Server, startServer } from "../support/server.ts";

/* What takes longer than the other tests of the daemon may. */

const times = Number(process.env.STEEP_CASES ?? 1000);
let server: Server;
beforeAll(async () => {
  server = await startServer({ name: "daemon-soak" });
  await server.query("create extension steep_repl cascade; create table tiny as select 1 as x");
});
afterAll(() => server.destroy());

test(`${times} snapshots leave no memory, sockets or sessions behind`, async () => {
  const daemon = await startDaemon(server);
  const measure = async () => {
    const [row] = await server.query<{ n: number }>(
      "select count(*)::int as n from pg_stat_activity where application_name like 'steep-repl%'",
    );
    return {
      mb: Math.round(await daemon.residentMb()),
      files: (await readdir(`/proc/${daemon.cli.child.pid}/fd`)).length,
      sessions: row?.n ?? 0,
    };
  };
  const path = join(server.home, "tiny");
  const once = async () => {
    const client = new WireClient("InitService", daemon.address);
    const { messages, error } = await client.stream("GenerateSnapshot", { output_path: path });
    client.close();
    expect(error).toBeUndefined();
    expect(messages.at(-1)).toMatchObject({ complete: true });
    await rm(path, { recursive: true });
  };
  const warm = Math.min(100, Math.floor(times / 4));
  for (let i = 0; i < warm; i++) await once();
  const before = await measure();
  for (let i = warm; i < times; i++) await once();
  const after = await measure();
  console.info({ times, before, after });
  expect(after.mb).toBeLessThan(before.mb + 40);
  expect(after.files).toBeLessThan(before.files + 5);
  expect(after.sessions).toBeLessThanOrEqual(before.sessions + 1);
  await daemon.stop();
});

test("a server that is frozen is taken for gone, and then found again", async () => {
  const daemon = await startDaemon(server);
  const client = new WireClient("Coordinator", daemon.address);
  expect((await client.call("HealthCheck")).status).toBe("SERVING");
  const frozen = [server.pid, ...descendants(server.pid)];
  for (const pid of frozen) signal(pid, "SIGSTOP");
  try {
    const began = performance.now();
    await expect(client.call("HealthCheck")).rejects.toMatchObject({ code: status.UNAVAILABLE });
    await expect(client.call("GetNodes")).rejects.toMatchObject({ code: status.UNAVAILABLE });
    expect(performance.now() - began).toBeLessThan(30_000);
  } finally {
    for (const pid of frozen) signal(pid, "SIGCONT");
  }
  expect((await client.call("HealthCheck")).status).toBe("SERVING");
  client.close();
  await daemon.stop();
});
