import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { status } from "@grpc/grpc-js";
import { afterAll, beforeAll, expect, test } from "vitest";
import { cli, startCli } from "../../support/cli.ts";
import { freePort } from "../../support/free-port.ts";
import { TestDaemon } from "../../support/grpc/daemon.ts";
import { WireClient } from "../../support/grpc/peer.ts";
import { offerOldExtension } from "../../support/old-extension.ts";
import { type Server, startServer } from "../../support/server.ts";
import { waitUntil } from "../../support/wait-until.ts";

/* The way from the predecessor, step by step, on two servers that have its extension and one old configuration file. */

let a: Server;
let b: Server;
let file: string;
let grpcPort: number;
let httpPort: number;

beforeAll(async () => {
  a = await startServer({ name: "migrate-a", settings: { wal_level: "logical" } });
  b = await startServer({
    name: "migrate-b",
    identity: "peer",
    settings: { wal_level: "logical" },
  });
  for (const server of [a, b]) {
    await server.query("create table t (id int primary key, v text)");
    await offerOldExtension(server, "all");
    await waitUntil(
      () => server.query<{ p: string }>("select current_setting('extension_control_path') as p"),
      ([row]) => row?.p.includes("old-all") === true,
      "the old extension is offered",
    );
    await server.query("create extension steep_repl version '0.1.0'");
    await server.query(
      "insert into steep_repl.nodes (node_id, node_name, host, port) values ('a', 'A', '127.0.0.1', $1), ('b', 'B', '127.0.0.1', $2)",
      [a.port, b.port],
    );
  }
  await a.query("insert into t values (1, 'only here')");
  [grpcPort, httpPort] = [await freePort(), await freePort()];
  file = join(a.home, "config.yaml");
  await writeFile(
    file,
    `connection:
  host: elsewhere
ui:
  theme: dark
repl:
  enabled: true
  node_id: a
  node_name: A
  postgresql:
    host: 127.0.0.1
    port: ${a.port}
    database: postgres
    user: postgres
    sslmode: prefer
    password_command: echo secret
  grpc:
    port: ${grpcPort}
  http:
    enabled: true
    port: ${httpPort}
    bind: 127.0.0.1
  ipc:
    enabled: true
    path: /tmp/steep-repl.sock
  initialization:
    method: snapshot
    parallel_workers: 2
    schema_sync: strict
    snapshot_compression: gzip
    of_a_later_version: 1
`,
  );
});
afterAll(async () => {
  await a.destroy();
  await b.destroy();
});

test("the steps, in their order", { timeout: 120_000 }, async () => {
  // this version's daemon takes the place of the old one, with its file
  const running = startCli(["run", "--config", file]);
  await running.until(/HTTP on/);
  const daemon = new TestDaemon(running, grpcPort, httpPort);
  expect(running.printed).toMatch(/warning: .*repl\.ipc\.path has no effect any more/);
  expect(running.printed).toMatch(/repl\.initialization\.of_a_later_version is not known/);
  const client = new WireClient("Coordinator", daemon.address);
  await expect(client.call("HealthCheck")).rejects.toMatchObject({
    ...{
      code: status.UNAVAILABLE,
      details: expect.stringContaining("ALTER EXTENSION steep_repl UPDATE"),
    },
  });

  for (const server of [a, b]) await server.query("alter extension steep_repl update");
  expect((await client.call("HealthCheck")).status).toBe("SERVING");
  const { nodes } = (await client.call("GetNodes")) as { nodes: { node_id: string }[] };
  expect(nodes.map((n) => n.node_id)).toEqual(["a", "b"]);

  await a.query("select steep_repl.remove_node('a'), steep_repl.remove_node('b')");
  await a.query(
    "select steep_repl.register_node('a', 'A'), steep_repl.register_node('b', 'B', '127.0.0.1', $1, 50, 'postgres', 'postgres')",
    [b.port],
  );
  const init = new WireClient("InitService", daemon.address);
  expect(
    await init.call("StartBidirectionalMerge", {
      node_a_id: "a",
      node_b_id: "b",
      tables: ["public.t"],
    }),
  ).toMatchObject({ success: true, result: { rows_transferred_a_to_b: "1" } });

  const direct = await cli([
    ...["snapshot", "generate", "a", "--output", join(a.home, "direct"), "--direct"],
    ...["-c", a.uri()],
  ]);
  expect(direct).toMatchObject({ code: 0 });

  client.close();
  init.close();
  await daemon.stop();
  const text = await readFile(file, "utf8");
  await writeFile(file, text.slice(0, text.indexOf("repl:")));
  expect(await cli(["daemon", "--config", file])).toMatchObject({
    ...{ code: 2, stderr: expect.stringContaining("has no section repl") },
  });
  expect(await cli(["health", "--direct", "-c", a.uri()])).toMatchObject({ code: 0 });
});
