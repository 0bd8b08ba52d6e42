import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { cli, startCli } from "../../support/cli.ts";
import { cliHere, commandNames } from "../../support/cli-here.ts";
import { type CliPair, oneLine, setCliPair } from "../../support/cli-pair.ts";
import { startDaemon, type TestDaemon } from "../../support/grpc/daemon.ts";
import { freshPath } from "../../support/snapshots.ts";
import { waitUntil } from "../../support/wait-until.ts";

/* The command line with our daemon: what it prints directly it prints over RPC, too. */

let pair: CliPair;
setCliPair("remote", (made) => {
  pair = made;
});

let home: string;
let daemon: TestDaemon;
beforeAll(async () => {
  home = mkdtempSync(join(tmpdir(), "steep-remote-"));
  vi.stubEnv("HOME", home);
  vi.stubEnv("XDG_CONFIG_HOME", undefined);
  for (const name of Object.keys(process.env)) if (/^PG/.test(name)) vi.stubEnv(name, undefined);
  daemon = await startDaemon(pair.a);
});
afterAll(async () => {
  vi.unstubAllEnvs();
  await daemon.stop();
  rmSync(home, { recursive: true });
});

const note = /^note: --remote is deprecated[^\n]*\n/;

/** Run a command over RPC, and expect its exit code. */
async function remote(code: number, args: readonly string[], flags = ["--insecure"]) {
  const result = await cliHere([...args, "--remote", daemon.address, ...flags]);
  expect(result, `${args.join(" ")}\n${result.stderr}`).toMatchObject({ code });
  return { ...result, said: result.stderr.replace(note, "") };
}

async function remoteJson<T>(code: number, args: readonly string[]): Promise<T> {
  return JSON.parse((await remote(code, [...args, "--json"])).stdout) as T;
}

/** Have the peer's table differ in a column while something runs. */
async function withExtraColumn(action: () => Promise<void>): Promise<void> {
  await pair.b.query("alter table orders add extra int");
  try {
    await action();
  } finally {
    await pair.b.query("alter table orders drop extra");
  }
}

describe("over RPC as directly", () => {
  type Row = Record<string, unknown>;
  /** Members that both have must be the same, and so many there must be. */
  function sameAs(direct: Row, over: Row, atLeast: number): void {
    const common = Object.keys(over).filter((name) => name in direct && over[name] !== null);
    expect(common.length).toBeGreaterThanOrEqual(atLeast);
    const of = (row: Row) => Object.fromEntries(common.map((name) => [name, row[name]]));
    expect(of(over)).toEqual(of(direct));
  }

  test("health", async () => {
    const direct = await pair.json<Row>(0, ["health"]);
    sameAs(direct, await remoteJson(0, ["health"]), 6);
  });

  test("health that is degraded", async () => {
    await pair.a.query("create publication everything for all tables");
    try {
      const direct = await pair.json<Row>(1, ["health"]);
      const over = await remoteJson<Row>(1, ["health"]);
      expect(over).toMatchObject({ status: "degraded" });
      expect(over.reasons).toBe((direct.reasons as string[]).join("; "));
    } finally {
      await pair.a.query("drop publication everything");
    }
  });

  test("node list, status and register", async () => {
    const [direct, over] = [
      await pair.json<Row[]>(0, ["node", "list"]),
      await remoteJson<Row[]>(0, ["node", "list"]),
    ];
    expect(over).toHaveLength(2);
    for (const [i, row] of over.entries())
      sameAs({ ...direct[i], last_seen: row.last_seen }, row, 5);
    expect(await remoteJson(0, ["node", "status", "node-a"])).toMatchObject([{ status: "online" }]);
    await remote(0, ["node", "register", "node-b", "--priority", "60"]);
    expect(
      await pair.a.query(
        "select node_name, host, priority from steep_repl.nodes where node_id = 'node-b'",
      ),
    ).toEqual([{ node_name: "B", host: "127.0.0.1", priority: 60 }]);
  });

  test("schema compare, diff and capture", async () => {
    const compare = ["schema", "compare", "node-a", "node-b"];
    await withExtraColumn(async () => {
      expect(await remoteJson(1, compare)).toEqual(await pair.json(1, compare));
      expect((await remote(1, compare)).stdout).toBe((await pair.on(1, compare)).stdout);
      const diff = ["schema", "diff", "node-a", "node-b", "public.orders"];
      const [direct] = await pair.json<Row[]>(1, diff);
      expect(await remoteJson(1, diff)).toEqual([{ ...direct, suggested_sql: null }]);
    });
    expect(await remoteJson(0, ["schema", "capture", "node-a"])).toEqual(
      await pair.json(0, ["schema", "capture", "node-a"]),
    );
    expect((await remote(3, ["schema", "diff", "node-a", "node-b", "public.nix"])).said).toContain(
      '"public.nix" exists neither',
    );
  });

  test("snapshot generate, progress, and apply", async () => {
    const path = freshPath(pair.a);
    const made = await remoteJson<Row>(0, ["snapshot", "generate", "my-node", "--output", path]);
    const [direct] = await pair.json<Row[]>(0, ["snapshot", "list"]);
    const timed = { started_at: made.started_at, completed_at: made.completed_at };
    sameAs({ ...direct, ...timed, throughput_bytes_sec: made.throughput_bytes_sec }, made, 12);
    const id = String(made.snapshot_id);
    const progress = ["snapshot", "progress", id];
    const [over] = await remoteJson<Row[]>(0, progress);
    const [here] = await pair.json<Row[]>(0, progress);
    sameAs({ ...here, bytes_processed: over?.bytes_processed }, over ?? {}, 5);
    expect((await remote(3, ["snapshot", "progress", "snap_x"])).said).toContain("does not exist");

    const again = await remote(3, ["snapshot", "generate", "--output", path]);
    expect(again.said).toMatch(/^steep-repl: [^\n]*not empty[^\n]*\n$/);
    const wrong = await remote(2, ["snapshot", "apply", "node-b", "--input", path]);
    expect(wrong.said).toContain("registered as another server");

    await pair.a.createDatabase("applied", { extension: true });
    const there = await startDaemon(pair.a, { database: "applied" });
    const apply = ["snapshot", "apply", "--input", path, "--remote", there.address, "--insecure"];
    expect(await cliHere(apply)).toMatchObject({ code: 0 });
    await there.stop();
    expect(
      await pair.a.query("select count(*)::int as n from orders", [], { database: "applied" }),
    ).toEqual([{ n: 20 }]);
  });

  test("merge start", async () => {
    const args = ["merge", "start", "node-a", "node-b", "--tables", "public.orders"];
    const direct = await pair.json<Row>(1, [...args, "--dry-run"]);
    const over = await remoteJson<Row>(1, [...args, "--dry-run"]);
    sameAs({ ...direct, tables: over.tables, rows_merged: over.rows_merged }, over, 8);
    const said = (await remote(0, [...args, "--yes"])).said;
    expect(said).toContain("no side loses a row");
    expect(said).toContain("20 rows that only this side has are pushed");
    expect(await pair.b.query("select count(*)::int as n from orders")).toEqual([{ n: 21 }]);
    const strangers = ["merge", "start", "node-b", "node-c", "--dry-run"];
    expect((await remote(2, strangers)).said).toContain("is the server of this daemon");
    const missing = [...args.slice(0, 4), "--tables", "public.nix", "--dry-run"];
    expect((await remote(3, missing)).said).toMatch(/^steep-repl: [^\n]*public\.nix/);
  });
});

test("Ctrl-C cuts the stream, which cancels the snapshot there", async () => {
  const locker = await pair.a.connect();
  await locker.query("begin; lock table orders in access exclusive mode");
  const path = freshPath(pair.a);
  const flags = ["--remote", daemon.address, "--insecure"];
  const running = startCli(["snapshot", "generate", "--output", path, ...flags]);
  const rows = () =>
    pair.a.query<{ status: string; id: string }>(
      "select status, snapshot_id as id from steep_repl.snapshots where storage_path = $1",
      [path],
    );
  await running.until(/schema|data/);
  running.interrupt();
  const { code, stderr, stdout } = await running.end;
  expect({ code, stdout }).toEqual({ code: 130, stdout: "" });
  const [row] = await rows();
  expect(stderr).toContain(`${row?.id}: its stream is cut, which cancels it there`);
  await waitUntil(rows, ([r]) => r?.status === "cancelled", "the snapshot is cancelled");
  await locker.query("rollback");
});

test("a snapshot that somebody else cancels ends with 4", async () => {
  const locker = await pair.a.connect();
  await locker.query("begin; lock table orders in access exclusive mode");
  const path = freshPath(pair.a);
  const flags = ["--remote", daemon.address, "--insecure"];
  const running = startCli(["snapshot", "generate", "--output", path, ...flags]);
  await running.until(/schema|data/);
  await pair.a.query(
    "select steep_repl.cancel_snapshot(snapshot_id) from steep_repl.snapshots where storage_path = $1",
    [path],
  );
  expect(await running.end).toMatchObject({ code: 4, stdout: "" });
  await locker.query("rollback");
});

describe("what cannot be done over RPC is said, with the direct way", () => {
  const withRpc: Readonly<Record<string, readonly string[]>> = {
    health: [],
    "snapshot generate": ["--output", "/x"],
    "snapshot apply": ["--input", "/x"],
    "snapshot progress": ["x"],
    "schema capture": ["x"],
    "schema compare": ["x", "y"],
    "schema diff": ["x", "y", "public.t"],
    "node register": ["x"],
    "node list": [],
    "node status": [],
    "merge start": ["x", "y", "--yes"],
  };
  const needed: Readonly<Record<string, readonly string[]>> = {
    ...{ "snapshot fetch": ["x", "--from", "n", "--output", "/x"], "snapshot inspect": ["/x"] },
    ...{ "pair check": ["x"], "pair start": ["x"], "pair cancel": ["x"], "pair drop": ["x"] },
    ...{ "snapshot download": ["x", "--output", "/x"] },
    ...{ "snapshot verify": ["/x"], "snapshot drop": ["x"], "node remove": ["x"] },
    ...{ "overlap tables": ["x"], "overlap rows": ["x", "y"], "merge rows-left": ["x"] },
    ...{ "merge resolve": ["1", "--choice", "local"], "merge undo": ["x"] },
    ...{ "ops cancel": ["1"], "ops retry": ["1"], "ops wait": ["1"] },
  };
  const without = commandNames().filter(
    (name) => !(name in withRpc) && !["daemon", "tls init"].includes(name),
  );

  test.each(without)("%s", async (name) => {
    const said = (await remote(2, [...name.split(" "), ...(needed[name] ?? [])])).stderr;
    expect(said).toEqual(oneLine);
    expect(said).toContain(`no RPC for "${name}"`);
    expect(said).toContain("--direct");
  });

  test.each([
    ["snapshot generate", ["--tables", "public.orders"], "--tables"],
    ["snapshot generate", ["--no-wait"], "--no-wait"],
    ["snapshot generate", ["--reconnect-timeout", "5"], "--reconnect-timeout"],
    ["snapshot apply", ["--truncate"], "--truncate"],
    ["snapshot apply", ["--no-owner"], "--no-owner"],
    ["node register", ["--dbname", "x"], "--dbname"],
    ["node status", ["--probe"], "--probe"],
    ["merge start", ["--local-only", "keep"], "--local-only"],
    ["merge start", ["--overlap-id", "x"], "--overlap-id"],
  ] as const)("%s %j", async (name, flags, flag) => {
    const args = [...name.split(" "), ...(withRpc[name] ?? []), ...flags];
    const said = (await remote(2, args)).stderr;
    expect(said).toEqual(oneLine);
    expect(said).toContain(`the RPC of "${name}" has no field for ${flag}`);
  });

  test.each(Object.entries(withRpc))("%s takes one way only", async (name, args) => {
    const words = [...name.split(" "), ...args];
    expect((await remote(2, [...words, "--direct"])).stderr).toContain("exclude each other");
    expect((await remote(2, [...words, "-c", "dbname=x"])).stderr).toContain("exclude each other");
    const ca = await cliHere([...words, "--direct", "--ca", "/x"]);
    expect(ca).toMatchObject({ code: 2, stderr: oneLine });
  });

  test.each(["", ":1", "host:0", "host:99999", "http://host:1", "a b:1", "[host]:1"])(
    "%j is no address",
    async (address) => {
      const { code, stderr } = await cliHere(["health", "--remote", address]);
      expect(code).toBe(2);
      expect(stderr).toContain("--remote is no HOST:PORT");
    },
  );
});

describe("without a flag", () => {
  const nowhere = { PGHOST: "127.0.0.1", PGPORT: "1" };
  const run = async (args: readonly string[], env: Record<string, string | undefined>) => {
    const before = { ...process.env };
    Object.assign(process.env, nowhere, env);
    try {
      return await cliHere(args);
    } finally {
      process.env = before;
    }
  };
  const health = (env: Record<string, string | undefined>, args: readonly string[] = []) =>
    run(["health", ...args], env);

  test("it is PostgreSQL itself, where that can be reached", async () => {
    const env = { PGPORT: `${pair.a.port}`, PGUSER: "postgres", STEEP_REPL_REMOTE: "127.0.0.1:1" };
    expect(await health(env)).toMatchObject({ code: 0, stderr: "" });
  });

  test("else the daemon of STEEP_REPL_REMOTE, and stderr says why", async () => {
    const env = { STEEP_REPL_REMOTE: daemon.address, HOME: "/nonexistent" };
    const { code, stderr } = await health(env, ["--insecure"]);
    expect(code).toBe(0);
    expect(stderr).toMatch(
      /^connection to server at .* failed: connection refused; asking the daemon at 127.0.0.1:\d+ instead, which STEEP_REPL_REMOTE names\n$/,
    );
  });

  test("else that of the configuration file, as it says", async () => {
    mkdirSync(join(home, ".config/steep"), { recursive: true });
    const file = join(home, ".config/steep/config.yaml");
    writeFileSync(file, `ui: { theme: dark }\nrepl:\n  grpc: { port: ${daemon.port} }\n`);
    const { code, stderr } = await health({ HOME: home });
    expect(code).toBe(0);
    expect(stderr).toContain(
      `asking the daemon at localhost:${daemon.port} instead, which ${file}`,
    );
    expect(stderr).toContain("is spoken to in plaintext");
    // another server than that of this machine is meant
    const elsewhere = await health({ HOME: home, PGHOST: "192.0.2.1,127.0.0.1" }, [
      "--timeout",
      "5",
    ]);
    expect(elsewhere.code).not.toBe(0);
    expect(elsewhere.stderr).not.toContain("asking the daemon");
    rmSync(file);
  });

  const env = () => ({ STEEP_REPL_REMOTE: daemon.address, HOME: "/nonexistent" });

  test.each([
    ["where -c names a database", ["-c", "host=127.0.0.1 port=1 user=x"]],
    ["with --direct", ["--direct"]],
  ] as const)("no daemon is asked %s", async (_, flags) => {
    const { code, stderr } = await health(env(), flags);
    expect(code).toBe(6);
    expect(stderr).toEqual(oneLine);
    expect(stderr).not.toContain("daemon at");
  });

  test("no daemon is asked where its RPC could only ignore a flag, and that is said", async () => {
    const args = ["snapshot", "generate", "--output", "/x", "--tables", "public.orders"];
    const { code, stderr } = await run(args, env());
    expect(code).toBe(6);
    expect(stderr).toContain("is not asked instead: its RPC has no field for --tables");
  });

  test("no daemon is asked where a server answers that has no steep_repl", async () => {
    const here = { PGPORT: `${pair.a.port}`, PGUSER: "postgres", PGDATABASE: "template1" };
    const { code, stderr } = await health({ ...here, ...env() });
    expect(code).toBe(6);
    expect(stderr).toContain("CREATE EXTENSION steep_repl CASCADE");
    expect(stderr).not.toContain("daemon at");
  });

  test("a daemon that is not there either is one error more", async () => {
    const { code, stderr } = await health({ STEEP_REPL_REMOTE: "127.0.0.1:1" });
    expect(code).toBe(6);
    expect(stderr).toMatch(/asking the daemon.*\nsteep-repl: connection to the daemon .*\n$/);
  });
});

test("the quickstart's lines work as they are written", async () => {
  mkdirSync(join(home, ".config/steep"), { recursive: true });
  const file = join(home, ".config/steep/config.yaml");
  writeFileSync(file, `repl:\n  grpc: { port: ${daemon.port} }\n`);
  const path = freshPath(pair.a);
  const line = `snapshot generate my-node --output ${path} --remote localhost:15460`;
  const { code, stderr, stdout } = await cli(line.replace("15460", `${daemon.port}`).split(" "), {
    env: { HOME: home },
  });
  expect(code, stderr).toBe(0);
  expect(stdout).toContain(`${path} on the server of localhost:`);
  expect(stderr.match(/deprecated/g)).toHaveLength(1);
  const env = { HOME: home, PGHOST: "127.0.0.1", PGPORT: `${pair.a.port}`, PGUSER: "postgres" };
  expect(await cli(["schema", "compare", "node-a", "node-b"], { env })).toMatchObject({ code: 1 });
  expect(await cli(["node", "list"], { env })).toMatchObject({ code: 0, stderr: "" });
  rmSync(file);
});

test("a daemon whose role is no superuser does all of that which the role may", async () => {
  await pair.a.query(`
    create role steep_repl login replication password 'secret';
    grant usage on schema steep_repl to steep_repl;
    grant select, insert, update, delete on all tables in schema steep_repl to steep_repl;
    grant select on all tables in schema public to steep_repl`);
  const env = { PGPASSWORD: "secret" };
  const plain = await startDaemon(pair.a, { user: "steep_repl", env });
  const run = (...args: string[]) =>
    cliHere([...args, "--remote", plain.address, "--insecure"]).then(({ code }) => code);
  expect(await run("health")).toBe(0);
  expect(await run("node", "list")).toBe(0);
  expect(await run("node", "register", "node-d", "--host", "192.0.2.1")).toBe(0);
  expect(await run("schema", "capture", "node-a")).toBe(0);
  expect(await run("snapshot", "generate", "--output", freshPath(pair.a))).toBe(0);
  expect(await run("snapshot", "generate", "--output", "/elsewhere")).toBe(3);
  expect(await plain.http("/health")).toMatchObject({ status: 200 });
  await plain.stop();
  await pair.a.query("select steep_repl.remove_node('node-d')");
});
