import { mkdtempSync, rmSync } from "node:fs";
import { createServer, type Server as NetServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { status } from "@grpc/grpc-js";
import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from "vitest";
import { type CliResult, jsonLines, startCli } from "../../support/cli.ts";
import { cliHere } from "../../support/cli-here.ts";
import { fails, type Methods, WireServer } from "../../support/grpc/server.ts";
import { createRandom } from "../../support/random.ts";
import { waitUntil } from "../../support/wait-until.ts";

/* What the command line makes of a daemon's answers, here of one of another library: as the predecessor gives them, and worse. */

let home: string;
beforeAll(() => {
  home = mkdtempSync(join(tmpdir(), "steep-remote-"));
  // no configuration file, and no certificates, of whoever runs the tests
  vi.stubEnv("HOME", home);
  vi.stubEnv("XDG_CONFIG_HOME", home);
});
afterAll(() => {
  vi.unstubAllEnvs();
  rmSync(home, { recursive: true });
});

let server: WireServer | undefined;
afterEach(() => {
  server?.stop();
  server = undefined;
});

/** Run a command against a server that answers like this. */
async function ask(args: readonly string[], methods: Methods): Promise<CliResult> {
  server = await WireServer.start(methods);
  return cliHere([...args, "--remote", server.address, "--insecure"]);
}

const deprecation = /^note: --remote is deprecated: [^\n]+\n/;

/** What is on stderr besides the note, which must be there once. */
function saidBy({ stderr }: CliResult): string {
  expect(stderr.match(/deprecated/g)).toHaveLength(1);
  expect(stderr).toMatch(deprecation);
  expect(stderr).not.toMatch(/\n {4}at /);
  return stderr.replace(deprecation, "");
}

const oneError = /^steep-repl: [^\n]+\n$/;

const generate = ["snapshot", "generate", "my-node", "--output", "/backups/monday"];
const id = "snap_20261126_120000_1a2b3c4d";

describe("a snapshot", () => {
  const progress = (percent: number, more: object = {}) => ({
    ...{ snapshot_id: id, phase: "data", overall_percent: percent, bytes_processed: "12345678901" },
    ...{ current_table: "public.orders", throughput_mb_sec: 12.5, eta_seconds: 3, ...more },
  });
  const complete = { phase: "complete", complete: true, lsn: "0/16B3748", current_table: "" };

  test("is shown as one that is taken directly, as far as the messages have it", async () => {
    const result = await ask([...generate, "--parallel", "2", "--json"], {
      "InitService.GenerateSnapshot": (_, call) => {
        call.write(progress(33.3));
        call.write(progress(100, complete));
        call.end();
      },
    });
    expect(result.code).toBe(0);
    expect(JSON.parse(result.stdout)).toMatchObject({
      ...{ snapshot_id: id, operation: "generate", node_id: "my-node", status: "complete" },
      ...{ storage_path: "/backups/monday", parallel: 2, lsn: "0/16B3748", phase: "complete" },
      bytes_processed: 12345678901,
    });
    const lines = jsonLines(result.stderr);
    expect(lines[0]).toEqual({ message: expect.stringContaining("deprecated") });
    expect(lines.slice(1)).toMatchObject([
      { status: "running", phase: "data", overall_percent: 33.3, throughput_bytes_sec: 12500000 },
      { status: "complete", overall_percent: 100 },
    ]);
    expect(server?.requests[0]?.[1]).toMatchObject({
      ...{ source_node_id: "my-node", output_path: "/backups/monday", parallel_workers: 2 },
    });
  });

  test("has what the daemon says of its row, for people too", async () => {
    const result = await ask(generate, {
      "InitService.GenerateSnapshot": (_, call) => {
        call.write(progress(100, complete));
        call.end();
      },
      "InitService.GetSnapshotProgress": () => ({
        has_progress: true,
        progress: { tables_total: 2, rows_written: "9007199254740993", bytes_written: "5000" },
      }),
    });
    expect(result.code).toBe(0);
    expect(result.stdout).toMatch(
      new RegExp(`storage_path +/backups/monday on the server of ${server?.address}\n`),
    );
    expect(result.stdout).toMatch(/rows_written +9007199254740993\n/);
    expect(result.stdout).toMatch(/size_bytes +4.9 kB \(5000 bytes\)\n/);
    expect(saidBy(result)).toMatch(/^complete {2}100.0%/);
  });

  test("that fails is a message with the error, then INTERNAL: the error is said once", async () => {
    const result = await ask(generate, {
      "InitService.GenerateSnapshot": (_, call) => {
        call.write(progress(10));
        call.write(progress(10, { error: "disk full\non /backups" }));
        call.emit("error", fails(status.INTERNAL, "snapshot failed: disk full"));
      },
    });
    expect(result).toMatchObject({ code: 3, stdout: "" });
    expect(saidBy(result)).toMatch(/steep-repl: disk full; on \/backups\n$/);
  });

  test("whose stream ends early is not called complete", async () => {
    const result = await ask(generate, {
      "InitService.GenerateSnapshot": (_, call) => {
        call.write(progress(10));
        call.end();
      },
    });
    expect(result).toMatchObject({ code: 3, stdout: "" });
    expect(saidBy(result)).toContain(`ended the stream of ${id} before its end`);
  });

  test("that is cancelled there ends with 4", async () => {
    const result = await ask(generate, {
      "InitService.GenerateSnapshot": (_, call) => {
        call.write(progress(10));
        call.emit("error", fails(status.CANCELLED, "the job was cancelled"));
      },
    });
    expect(result).toMatchObject({ code: 4, stdout: "" });
    expect(saidBy(result)).toContain("steep-repl: the job was cancelled");
  });

  test("whose connection is cut may go on, and the way to look is said", async () => {
    const result = await ask(generate, {
      "InitService.GenerateSnapshot": (_, call) => {
        call.write(progress(10));
        setTimeout(() => server?.stop(), 50);
      },
    });
    expect(result).toMatchObject({ code: 6, stdout: "" });
    expect(saidBy(result)).toContain(
      `steep-repl snapshot progress ${id} --remote ${server?.address} --insecure`,
    );
  });

  test("is cut after --timeout, which cancels it", async () => {
    let isCut = false;
    const result = await ask([...generate, "--timeout", "300ms"], {
      "InitService.GenerateSnapshot": (_, call) => {
        call.on("cancelled", () => {
          isCut = true;
        });
        call.write(progress(10));
      },
    });
    expect(result).toMatchObject({ code: 5, stdout: "" });
    expect(saidBy(result)).toContain("which cancels it there");
    expect(isCut).toBe(true);
  });

  test("of 5,000 messages is read to its end, and a line a second is shown", async () => {
    const result = await ask(generate, {
      "InitService.GenerateSnapshot": (_, call) => {
        for (let i = 0; i < 5000; i++) call.write(progress(i / 50));
        call.write(progress(100, complete));
        call.end();
      },
    });
    expect(result.code).toBe(0);
    expect(saidBy(result).split("\n").length).toBeLessThan(20);
  });

  test("applies with the checks that are wanted", async () => {
    const answers: Methods = {
      "InitService.ApplySnapshot": (_, call) => {
        call.write(progress(100, complete));
        call.end();
      },
    };
    const apply = ["snapshot", "apply", "node-b", "--input", "/backups/monday"];
    expect((await ask([...apply, "--source", "node-a", "--verify"], answers)).code).toBe(0);
    expect(server?.requests[0]?.[1]).toMatchObject({
      ...{ target_node_id: "node-b", source_node_id: "node-a", verify_checksums: true },
    });
    server?.stop();
    expect((await ask([...apply, "--no-verify"], answers)).code).toBe(0);
    expect(server?.requests[0]?.[1]).toMatchObject({ verify_checksums: false });
  });
});

describe("a failed operation is OK with success = false", () => {
  const failed = () => ({ success: false, error: "it did\nnot work" });
  test.each([
    [["schema", "capture", "n"], "InitService.CaptureFingerprints"],
    [["schema", "compare", "a", "b"], "InitService.CompareSchemas"],
    [["schema", "diff", "a", "b", "public.t"], "InitService.CompareSchemas"],
    [["merge", "start", "a", "b", "--yes"], "InitService.StartBidirectionalMerge"],
    [["merge", "start", "a", "b", "--dry-run"], "InitService.StartBidirectionalMerge"],
    [["node", "register", "a", "--node-name", "A"], "Coordinator.RegisterNode"],
  ] as const)("%j", async (args, method) => {
    const result = await ask(args, { [method]: failed });
    expect(result).toMatchObject({ code: 3, stdout: "" });
    expect(saidBy(result)).toContain("steep-repl: it did; not work");
  });
});

describe("what a daemon does not have is said, with the direct way", () => {
  test.each([[["snapshot", "progress", id]], [["health"]], [generate], [["node", "list"]]])(
    "%j",
    async (args) => {
      const result = await ask(args, {});
      expect(result).toMatchObject({ code: 3, stdout: "" });
      expect(saidBy(result)).toMatch(/has no such RPC .*--direct/);
      expect(saidBy(result)).toMatch(oneError);
    },
  );
});

describe("a status ends with its exit code", () => {
  test.each([
    [status.UNAVAILABLE, 6],
    [status.INVALID_ARGUMENT, 2],
    [status.CANCELLED, 4],
    [status.DEADLINE_EXCEEDED, 5],
    [status.INTERNAL, 3],
    [status.NOT_FOUND, 3],
    [status.PERMISSION_DENIED, 3],
    [status.UNAUTHENTICATED, 3],
    [status.RESOURCE_EXHAUSTED, 3],
    [status.UNKNOWN, 3],
    [status.DATA_LOSS, 3],
  ] as const)("%i: %i", async (code, exit) => {
    const result = await ask(["node", "list"], {
      "Coordinator.GetNodes": () => fails(code, "because\n\u001b[31mof that"),
    });
    expect(result).toMatchObject({ code: exit, stdout: "" });
    expect(saidBy(result)).toMatch(oneError);
    expect(saidBy(result)).toContain("because; \\u001b[31mof that");
  });
});

describe("health", () => {
  const parts = (healthy: boolean) => ({
    postgresql: { healthy: true, status: "healthy", message: "PostgreSQL 18.6" },
    ipc: { healthy, status: healthy ? "healthy" : "unhealthy", message: "" },
  });
  test.each([
    [0, "healthy", { status: "SERVING", components: parts(true) }],
    [1, "degraded", { status: "SERVING", components: parts(false) }],
    [3, "unhealthy", { status: "NOT_SERVING", components: parts(true) }],
    [3, "unhealthy", { status: "SERVICE_UNKNOWN" }],
    [3, "unhealthy", { status: 77 }],
    [3, "unhealthy", {}],
  ] as const)("%i: %s", async (code, word, answer) => {
    const result = await ask(["health", "--json"], { "Coordinator.HealthCheck": () => answer });
    expect(result.code).toBe(code);
    expect(JSON.parse(result.stdout)).toMatchObject({ status: word });
  });

  test("--timeout ends the wait for an answer", async () => {
    const result = await ask(["health", "--timeout", "200ms"], {
      "Coordinator.HealthCheck": () => undefined,
    });
    expect(result).toMatchObject({ code: 5, stdout: "" });
    expect(saidBy(result)).toMatch(/^steep-repl: timed out after 0.2 s; hint: raise --timeout\n$/);
  });
});

describe("nodes", () => {
  const nodes = [
    {
      ...{ node_id: "a", node_name: "A\u001b[2J", host: "db1", port: 5432, priority: 50 },
      ...{ status: "online", last_seen: { seconds: "1700000000", nanos: 5e8 } },
    },
    { node_id: "b", last_seen: { seconds: "9223372036854775807", nanos: 0 } },
  ];
  const answers: Methods = {
    "Coordinator.GetNodes": () => ({ nodes }),
    "Coordinator.RegisterNode": () => ({ success: true, nodes }),
  };

  test("are listed, with control characters made visible", async () => {
    const { code, stdout } = await ask(["node", "list"], answers);
    expect(code).toBe(0);
    expect(stdout).toContain("A\\u001b[2J");
    expect(stdout).toContain("2023-11-14 22:13:20.500+00");
    expect(stdout.trimEnd().split("\n")).toHaveLength(3);
  });

  test("one that is registered keeps the name that it has", async () => {
    expect((await ask(["node", "register", "a", "--host", "db2"], answers)).code).toBe(0);
    expect(server?.requests.at(-1)?.[1]).toMatchObject({
      ...{ node_id: "a", node_name: "A\u001b[2J", host: "db2", port: 0, priority: 0 },
    });
  });

  test("an unknown one has no status", async () => {
    expect(saidBy(await ask(["node", "status", "c"], answers))).toContain("is not registered");
  });

  test("a port that no field can hold is refused", async () => {
    const result = await ask(["node", "register", "a", "--port", "99999999999"], answers);
    expect(result.code).toBe(2);
    expect(saidBy(result)).toContain("--port is out of range");
  });
});

describe("schemas", () => {
  const of = (status: string, differences: object[] = []) => ({
    ...{ table_schema: "public", table_name: "Orders", status, differences },
    ...{ local_fingerprint: "a".repeat(64), remote_fingerprint: "b".repeat(64) },
  });
  const column = {
    ...{ column_name: "extra", difference_type: "peer_only", remote_definition: "integer" },
  };

  test.each([
    [0, "COMPARISON_STATUS_MATCH", "match"],
    [1, "COMPARISON_STATUS_MISMATCH", "mismatch"],
    [1, "COMPARISON_STATUS_LOCAL_ONLY", "local_only"],
    [1, "COMPARISON_STATUS_REMOTE_ONLY", "peer_only"],
    [1, "COMPARISON_STATUS_UNSPECIFIED", "unknown"],
  ] as const)("%i %s", async (code, status, word) => {
    const result = await ask(["schema", "compare", "a", "b", "--schemas", "public", "--json"], {
      "InitService.CompareSchemas": () => ({ success: true, comparisons: [of(status)] }),
    });
    expect(result.code).toBe(code);
    expect(JSON.parse(result.stdout)).toEqual([
      {
        ...{ schema_name: "public", table_name: "Orders", status: word },
        ...{ local_fingerprint: "a".repeat(64), peer_fingerprint: "b".repeat(64) },
      },
    ]);
    expect(server?.requests[0]?.[1]).toMatchObject({ schemas: ["public"] });
  });

  test("diff tells of columns, and says that there is more", async () => {
    const comparisons = [of("COMPARISON_STATUS_MISMATCH", [column])];
    const result = await ask(["schema", "diff", "a", "b", "--table", 'public."Orders"'], {
      "InitService.CompareSchemas": () => ({ success: true, comparisons }),
    });
    expect(result.code).toBe(1);
    expect(result.stdout).toMatch(/column +extra +integer +peer_only/);
    expect(saidBy(result)).toContain("--direct tells of all objects");
  });

  test("an answer of 20 MB is read", async () => {
    const fingerprints = Array.from({ length: 20_000 }, (_, i) => ({
      ...{ schema_name: "public", table_name: `t${i}`, fingerprint: "a".repeat(64) },
      column_definitions: "x".repeat(1000),
    }));
    const result = await ask(["schema", "capture", "a"], {
      "InitService.CaptureFingerprints": () => ({
        success: true,
        table_count: 20_000,
        fingerprints,
      }),
    });
    expect(result).toMatchObject({ code: 0, stdout: "tables_captured  20000\n" });
  });

  test("two daemons are compared by their fingerprints", async () => {
    const of = (...tables: [string, string][]): Methods => ({
      "InitService.GetSchemaFingerprints": () => ({
        success: true,
        fingerprints: tables.map(([table_name, fingerprint]) => ({
          ...{ schema_name: "public", table_name, fingerprint },
        })),
      }),
    });
    const b = await WireServer.start(of(["t1", "aa"], ["t2", "xx"], ["t4", "dd"]));
    server = await WireServer.start(of(["t1", "aa"], ["t2", "bb"], ["t3", "cc"]));
    const result = await cliHere([
      ...["schema", "compare", "node-a", "node-b", "--insecure", "--json"],
      ...["--remote-a", server.address, "--remote-b", b.address],
    ]);
    b.stop();
    expect(result.code).toBe(1);
    const rows = JSON.parse(result.stdout) as { table_name: string; status: string }[];
    expect(rows.map((row) => [row.table_name, row.status])).toEqual([
      ["t1", "match"],
      ["t2", "mismatch"],
      ["t3", "local_only"],
      ["t4", "peer_only"],
    ]);
  });
});

describe("merge start", () => {
  const result = {
    ...{ tables_processed: "1", conflicts_detected: "3", conflicts_resolved: "3" },
    ...{ rows_transferred_a_to_b: "5", rows_transferred_b_to_a: "1" },
    table_results: [
      {
        ...{ schema: "public", table: "orders", rows_a_only: "2", rows_b_only: "1" },
        ...{ rows_conflict: "3", rows_identical: "9007199254740993" },
      },
    ],
  };
  const answers: Methods = {
    "InitService.StartBidirectionalMerge": () => ({ success: true, result }),
  };

  test("a dry run differs", async () => {
    const { code, stdout } = await ask(
      ["merge", "start", "a", "b", "--dry-run", "--json"],
      answers,
    );
    expect(code).toBe(1);
    expect(stdout).toContain('"match_count":9007199254740993');
    expect(JSON.parse(stdout)).toMatchObject({
      dry_run: true,
      local_only_count: 2,
      rows_merged: 6,
    });
    expect(server?.requests[0]?.[1]).toMatchObject({
      ...{ node_a_id: "a", node_b_id: "b", dry_run: true },
      strategy: "CONFLICT_STRATEGY_PREFER_NODE_A",
    });
  });

  test("shows first which side loses, and merges", async () => {
    const args = [
      "merge",
      "start",
      "a",
      "b",
      "--tables",
      "public.orders",
      "--prefer",
      "b",
      "--yes",
    ];
    const said = await ask(args, answers);
    expect(said.code).toBe(0);
    expect(said.stderr).toContain("LOSES: here loses 3 rows, overwritten with those of the peer");
    expect(server?.requests.map(([, request]) => request.dry_run)).toEqual([true, false]);
    expect(server?.requests[1]?.[1]).toMatchObject({
      ...{ tables: ["public.orders"], strategy: "CONFLICT_STRATEGY_PREFER_NODE_B" },
    });
  });

  test("without a terminal needs --yes, and both nodes", async () => {
    const unasked = await ask(["merge", "start", "a", "b"], answers);
    expect(unasked.code).toBe(2);
    expect(server?.requests).toEqual([]);
    server?.stop();
    expect((await ask(["merge", "start", "b", "--yes"], answers)).code).toBe(2);
  });

  test("goes on after Ctrl-C, and that is said", async () => {
    server = await WireServer.start({ "InitService.StartBidirectionalMerge": () => undefined });
    const flags = ["--remote", server.address, "--insecure"];
    const running = startCli(["merge", "start", "a", "b", "--dry-run", ...flags]);
    await waitUntil(
      () => server?.requests.length,
      (count) => count === 1,
      "the merge is asked for",
    );
    running.interrupt();
    const { code, stdout, stderr } = await running.end;
    expect({ code, stdout }).toEqual({ code: 130, stdout: "" });
    expect(stderr.replace(deprecation, "")).toMatch(/^the merge goes on in the server; [^\n]+\n$/);
  });

  test("a success without a result is none", async () => {
    const said = await ask(["merge", "start", "a", "b", "--dry-run"], {
      "InitService.StartBidirectionalMerge": () => ({ success: true }),
    });
    expect(said).toMatchObject({ code: 3, stdout: "" });
    expect(saidBy(said)).toContain("not what it did");
  });
});

describe("answers that are none", () => {
  const commands: readonly (readonly [args: readonly string[], method: string])[] = [
    [["health"], "Coordinator.HealthCheck"],
    [["node", "list"], "Coordinator.GetNodes"],
    [["node", "register", "a", "--node-name", "A"], "Coordinator.RegisterNode"],
    [["snapshot", "progress", id], "InitService.GetSnapshotProgress"],
    [["schema", "capture", "a"], "InitService.CaptureFingerprints"],
    [["schema", "compare", "a", "b"], "InitService.CompareSchemas"],
    [["merge", "start", "a", "b", "--dry-run"], "InitService.StartBidirectionalMerge"],
    [generate, "InitService.GenerateSnapshot"],
  ];

  test("random bytes end in one line, whatever the command", async () => {
    const random = createRandom();
    const bytes = () =>
      Buffer.from(Array.from({ length: random.int(1, 60) }, () => random.int(0, 255)));
    const answers = Object.fromEntries(
      commands.map(([, method]) => [
        method,
        (_: unknown, call: { write(b: Buffer): void; end(): void }) => {
          if (method !== "InitService.GenerateSnapshot") return bytes();
          call.write(bytes());
          call.end();
          return undefined;
        },
      ]),
    ) as unknown as Methods;
    server = await WireServer.start(answers);
    for (let i = 0; i < 5; i++) {
      for (const [args] of commands) {
        const said = await cliHere([...args, "--remote", server.address, "--insecure"]);
        // garbage may be a message of fields that nobody knows
        expect([0, 1, 3], `${args.join(" ")}: ${said.stderr}`).toContain(said.code);
        expect(saidBy(said)).not.toContain("a bug in steep-repl");
      }
    }
  });
});

describe("what is no daemon", () => {
  let other: NetServer;
  const listen = (answer: (socket: import("node:net").Socket) => void) =>
    new Promise<string>((resolve) => {
      other = createServer((socket) => {
        socket.on("error", () => {}).resume();
        answer(socket);
      });
      other.listen(0, "127.0.0.1", () =>
        resolve(`127.0.0.1:${(other.address() as { port: number }).port}`),
      );
    });
  afterEach(() => {
    other?.close();
  });

  test.each([
    ["closes", "closed the connection", (s: import("node:net").Socket) => s.end()],
    ["resets", "closed the connection", (s: import("node:net").Socket) => s.resetAndDestroy()],
    [
      "speaks HTTP/1",
      "speaks no gRPC",
      (s: import("node:net").Socket) => s.end("HTTP/1.1 400 Bad Request\r\n\r\n"),
    ],
  ] as const)("one that %s", async (_, says, answer) => {
    const address = await listen(answer);
    const result = await cliHere(["health", "--remote", address, "--insecure"]);
    expect(result).toMatchObject({ code: 6, stdout: "" });
    expect(saidBy(result)).toMatch(oneError);
    expect(saidBy(result)).toContain(says);
  });

  test("nobody, and no host", async () => {
    const gone = await cliHere(["health", "--remote", "127.0.0.1:1", "--insecure"]);
    expect(gone.code).toBe(6);
    expect(saidBy(gone)).toContain("connection refused; hint: is steep-repl daemon running there");
    const nowhere = await cliHere(["health", "--remote", "no..such..host:1", "--insecure"]);
    expect(nowhere.code).toBe(6);
    expect(saidBy(nowhere)).toMatch(/hint: check the host's name\n$/);
  });
});
