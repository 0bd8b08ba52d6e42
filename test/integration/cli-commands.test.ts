import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type CliOptions, type CliResult, cli, jsonLines } from "../support/cli.ts";
import { type Server, startServer } from "../support/server.ts";
import { freshPath } from "../support/snapshots.ts";
import { waitUntil } from "../support/wait-until.ts";

/** The next one is no double. */
const twoTo53 = "9007199254740992";

let a: Server;
let b: Server;

beforeAll(async () => {
  const settings = { max_worker_processes: 16, "steep_repl.poll_interval": "1s" };
  [a, b] = await Promise.all([
    startServer({
      name: "cli-a",
      settings,
      hba: ["host all steep_repl 127.0.0.1/32 scram-sha-256"],
    }),
    startServer({ name: "cli-b", identity: "peer", settings }),
  ]);
  await a.query("create extension steep_repl cascade");
  await b.query(
    `create table public.orders (id bigint primary key, note text, "big ""n""" numeric)`,
  );
  await a.query(`
    create table public.orders (id bigint primary key, note text, "big ""n""" numeric);
    create table public."o'dd ""name""" (id int primary key);
    insert into public.orders select i, 'row ' || i, i from generate_series(1, 20) i;
    select setval(pg_get_serial_sequence('steep_repl.merge_conflicts', 'conflict_id'), ${twoTo53})`);
  await b.query("insert into public.orders select * from (values (21, 'theirs', 1)) v");
});
afterAll(async () => {
  await a.destroy();
  await b.destroy();
});

/** A command on the first server, with what it must end with. */
async function on(
  code: number,
  args: readonly string[],
  options: CliOptions = {},
): Promise<CliResult> {
  const result = await cli([...args, "-c", a.uri()], options);
  expect(result, `steep-repl ${args.join(" ")}`).toMatchObject({ code });
  return result;
}

const json = async <T>(code: number, args: readonly string[]) =>
  JSON.parse((await on(code, [...args, "--json"])).stdout) as T;

const oneLine = expect.stringMatching(/^steep-repl: [^\n]+\n$/);

describe("nodes", () => {
  test("are registered, listed and removed, whatever they are called", async () => {
    const name = `it's "b"\n🐘`;
    await json(0, [
      "node",
      "register",
      name,
      "--host",
      "127.0.0.1",
      "--port",
      "1",
      "--priority",
      "7",
    ]);
    expect(await json(0, ["node", "list"])).toMatchObject([
      { node_id: name, port: 1, priority: 7 },
    ]);
    const { stdout } = await on(0, ["node", "list"]);
    expect(stdout).toContain(String.raw`it's "b"\n🐘`);
    expect(stdout.trimEnd().split("\n")).toHaveLength(2);

    const refused = await on(2, ["node", "remove", name]);
    expect(refused).toMatchObject({ stdout: "", stderr: oneLine });
    expect(refused.stderr).toContain("--yes");
    expect(await on(0, ["node", "remove", name, "--yes"])).toMatchObject({
      stderr: expect.stringContaining("127.0.0.1, port 1"),
    });
    expect(await json(0, ["node", "list"])).toEqual([]);
    expect(await on(3, ["node", "remove", name, "--yes"])).toMatchObject({ stderr: oneLine });
  });

  test("have a status, by connecting too", async () => {
    const place = (port: number) => [
      "--host",
      "127.0.0.1",
      "--port",
      `${port}`,
      "--dbname",
      "postgres",
    ];
    await on(0, ["node", "register", "node-a", ...place(a.port), "--username", "postgres"]);
    await on(0, ["node", "register", "node-b", ...place(b.port), "--username", "postgres"]);
    expect(await json(0, ["node", "status", "--direct"])).toMatchObject([
      { node_id: "node-a", status: "online", is_local: true },
      { node_id: "node-b", status: "unknown" },
    ]);
    expect(await json(0, ["node", "status", "node-b", "--probe"])).toMatchObject([
      { status: "online" },
    ]);
    expect((await on(3, ["node", "status", "node-c"])).stderr).toContain(
      'node "node-c" is not registered',
    );
  });
});

describe("schemas", () => {
  test("compare says what differs, in the exit code too", async () => {
    const args = ["schema", "compare", "node-a", "node-b", "--direct"];
    expect((await on(1, args)).stdout).toMatch(/o'dd "name" +[0-9a-f]{12} +local_only\n/);
    expect(await json(1, [...args, "--differing"])).toHaveLength(1);
    await b.query(`create table public."o'dd ""name""" (id int primary key)`);
    expect(await json(0, args)).toMatchObject([{ status: "match" }, { status: "match" }]);
    expect(await on(2, ["schema", "compare", "node-b", "node-a"])).toMatchObject({
      stderr: oneLine,
    });
  });

  test("diff gives the statements for the peer", async () => {
    const args = ["schema", "diff", "node-a", "node-b", `public."o'dd ""name"""`];
    expect(await json(0, args)).toEqual([]);
    await a.query(`alter table public."o'dd ""name""" add note text`);
    expect((await on(1, args)).stdout).toContain(
      `\nalter table public."o'dd ""name""" add column note text;\n`,
    );
  });

  test("capture counts", async () => {
    expect(await json(0, ["schema", "capture", "node-a"])).toEqual({ tables_captured: 2 });
  });
});

describe("snapshots", () => {
  test("generate, list, progress, verify, apply, drop", async () => {
    const path = freshPath(a);
    const generated = await on(0, [
      "snapshot",
      "generate",
      "my-node",
      "--output",
      path,
      "--direct",
      "--tables",
      `public.orders,public."o'dd ""name"""`,
    ]);
    expect(generated.stdout).toMatch(new RegExp(`storage_path +${path} on server 127.0.0.1\n`));
    expect(generated.stderr).toMatch(/complete {2}100.0%/);
    const [row] = await json<{ snapshot_id: string }[]>(0, ["snapshot", "list"]);
    expect(row).toMatchObject({ node_id: "my-node", status: "complete", table_count: 2 });
    const id = row?.snapshot_id ?? "";
    expect(await json(0, ["snapshot", "progress", id])).toMatchObject([{ overall_percent: 100 }]);
    expect((await on(0, ["snapshot", "verify", path])).stdout).toBe(
      `${path} on server 127.0.0.1 is sound\n`,
    );

    await a.createDatabase("copy", { extension: true });
    const applied = await cli([
      "snapshot",
      "apply",
      "--input",
      path,
      "--json",
      "-c",
      a.uri("copy"),
    ]);
    expect(applied.code).toBe(0);
    expect(JSON.parse(applied.stdout)).toMatchObject({ operation: "apply", rows_written: 20 });
    expect(jsonLines(applied.stderr).at(-1)).toMatchObject({
      status: "complete",
      overall_percent: 100,
    });

    const again = [
      "snapshot",
      "apply",
      "-i",
      path,
      "--sections",
      "data",
      "--truncate",
      "-c",
      a.uri("copy"),
    ];
    expect(await cli(again)).toMatchObject({ code: 2, stderr: oneLine });
    expect(await cli([...again, "--yes"])).toMatchObject({
      code: 0,
      stderr: expect.stringContaining("(127.0.0.1, database copy) loses the rows"),
    });

    expect(await on(2, ["snapshot", "drop", id])).toMatchObject({ stderr: oneLine });
    expect((await on(0, ["snapshot", "drop", id, "--yes"])).stderr).toContain(
      `${path} on server 127.0.0.1`,
    );
    expect(await on(3, ["snapshot", "drop", id, "--yes"])).toMatchObject({ stderr: oneLine });
  });

  test("a damaged one is reported", async () => {
    const path = freshPath(a);
    await on(0, ["snapshot", "generate", "-o", path, "--compression", "none"]);
    await a.query(`copy (select 'x') to '${path}/toc.dat'`);
    const damaged = await on(1, ["snapshot", "verify", path]);
    expect(damaged.stdout).toMatch(/toc\.dat/);
    expect((await on(1, ["snapshot", "verify", path, "--json"])).stdout).toMatch(
      /^\[\n {2}\{"file"/,
    );
  });

  test("--no-wait prints the id only, and ops know the job", async () => {
    const { stdout, stderr } = await on(0, [
      "snapshot",
      "generate",
      "-o",
      freshPath(a),
      "--no-wait",
    ]);
    expect(stdout).toMatch(/^snap_\w+\n$/);
    expect(stderr).toBe("");
    const operations = await json<{ snapshot_id: string }[]>(0, ["ops", "list"]);
    expect(operations[0]?.snapshot_id).toBe(stdout.trim());
    // as text: the id has more digits than a number of JavaScript
    const text = (await on(0, ["ops", "list", "--json"])).stdout;
    const id = /"id":(\d+)/.exec(text)?.[1] ?? "";
    // it may be over by now: then its end is noticed at once
    expect((await on(0, ["ops", "wait", id])).stdout).toContain(stdout.trim());
    expect(await on(3, ["ops", "cancel", id])).toMatchObject({ stderr: oneLine });
    expect(await on(3, ["ops", "retry", id])).toMatchObject({ stderr: oneLine });
  });

  test("a job that fails or is cancelled says so", async () => {
    const failing = ["snapshot", "apply", "--input", freshPath(a)];
    expect((await on(3, failing)).stderr).toMatch(/\nsteep-repl: [^\n]+\n$|^steep-repl: [^\n]+\n$/);
    await a.configure({ "steep_repl.reserved_worker_slots": 1000 });
    try {
      const { stdout } = await on(0, [
        "snapshot",
        "generate",
        "-o",
        freshPath(a),
        "--no-wait",
        "--json",
      ]);
      const id = /"operation_id":(\d+)/.exec(stdout)?.[1] ?? "";
      expect((await on(0, ["ops", "list", "--status", "pending"])).stdout).toMatch(
        new RegExp(`\\n *${id} `),
      );
      expect((await on(5, ["ops", "wait", id, "--timeout", "0.1"])).stderr).toContain(
        `ops cancel ${id}`,
      );
      expect(await json(0, ["ops", "cancel", id])).toMatchObject({ cancelled: true });
      await on(4, ["ops", "wait", id]);
      await on(0, ["ops", "retry", id, "--no-wait"]);
      await on(0, ["ops", "cancel", id]);
    } finally {
      await a.configure({ "steep_repl.reserved_worker_slots": 3 });
    }
  });
});

describe("merges", () => {
  const orders = ["--tables", "public.orders"];

  test("analyze-overlap counts", async () => {
    const counts = { local_only_count: 20, remote_only_count: 1, conflict_count: 0 };
    expect(await json(1, ["analyze-overlap", "node-a", "node-b", ...orders])).toMatchObject([
      counts,
    ]);
    expect((await on(1, ["analyze-overlap", "--peer", "node-b", ...orders])).stdout).toMatch(
      /public.orders +20 +1 /,
    );
    expect(await on(2, ["analyze-overlap"])).toMatchObject({ stderr: oneLine });
    expect(await on(2, ["analyze-overlap", "node-b", "node-a", ...orders])).toMatchObject({
      stderr: oneLine,
    });
  });

  test("start needs --yes, says who loses what, and undo takes it back", async () => {
    await a.query("insert into public.orders values (30, 'here', 1)");
    await b.query("insert into public.orders values (30, 'there', 1)");
    const start = ["merge", "start", "node-b", ...orders];
    expect(await on(2, start)).toMatchObject({ stdout: "", stderr: oneLine });
    expect(await json(1, [...start, "--dry-run"])).toMatchObject({
      dry_run: true,
      conflict_count: 1,
    });
    expect(await on(2, [...start, "--yes", "--prefer", "node-c"])).toMatchObject({
      stderr: oneLine,
    });
    const merged = await on(0, [...start, "--prefer", "node-a", "--yes"]);
    expect(merged.stderr).toContain(`node-b: host 127.0.0.1, port ${b.port}, database postgres`);
    expect(merged.stderr).toContain("LOSES: the peer loses 1 row, overwritten");
    expect(merged.stdout).toMatch(/rows_merged +22\n/);
    const [{ merge_id: id } = { merge_id: "" }] = await json<{ merge_id: string }[]>(0, [
      "merge",
      "progress",
    ]);

    expect(await on(2, ["merge", "undo", id])).toMatchObject({ stderr: oneLine });
    const undone = await on(0, ["merge", "undo", id, "--yes"]);
    expect(undone.stderr).toContain("loses 1 changes, the peer");
    expect(await b.query("select note from public.orders order by id")).toMatchObject([
      { note: "theirs" },
      { note: "there" },
    ]);
    expect(await on(3, ["merge", "undo", "merge_x", "--yes"])).toMatchObject({ stderr: oneLine });
  });

  test("manual leaves conflicts, whose numbers are exact, to be resolved", async () => {
    const start = ["merge", "start", "node-b", ...orders, "--strategy", "manual", "--yes"];
    await on(1, start);
    const listed = await on(1, ["merge", "conflicts", "--json"]);
    const id = /"conflict_id":(\d+)/.exec(listed.stdout)?.[1] ?? "";
    expect(BigInt(id)).toBeGreaterThan(BigInt(Number.MAX_SAFE_INTEGER));
    expect(id).not.toBe(`${Number(id)}`);
    expect((await on(1, ["merge", "conflicts"])).stdout).toContain(id);
    expect(await on(2, ["merge", "resolve", id, "--choice", "mine"])).toMatchObject({
      stderr: oneLine,
    });
    expect(await on(2, ["merge", "resolve", "x", "--choice", "local"])).toMatchObject({
      stderr: oneLine,
    });
    const resolved = (await on(0, ["merge", "resolve", id, "--choice", "remote", "--json"])).stdout;
    expect(resolved).toContain(`"conflict_id":${id},`);
    expect(await json(0, ["merge", "conflicts"])).toEqual([]);
    await on(0, ["analyze-overlap", "node-b", ...orders]);
  });

  test("a peer's password is in no list of processes and in no output", async () => {
    const peer = `host=127.0.0.1 port=${b.port} dbname=postgres user=postgres password=topsecret`;
    const result = await on(0, ["merge", "start", "--peer", peer, ...orders, "--yes"]);
    expect(result.stdout + result.stderr).not.toContain("topsecret");
    expect(result.stdout).toContain(`port=${b.port}`);
  });
});

describe("as written in the manual", () => {
  test("the role with its password, and the PG* variables", async () => {
    await a.createDatabase("mydb", { extension: true });
    await a.query(
      `create role steep_repl with login replication password 'password';
       grant usage on schema steep_repl to steep_repl;
       grant select, insert, update, delete on all tables in schema steep_repl to steep_repl;
       grant select on all tables in schema public to steep_repl`,
      [],
      { database: "mydb" },
    );
    const uri = `postgresql://steep_repl:password@localhost:${a.port}/mydb`;
    const path = freshPath(a);
    const generate = ["snapshot", "generate", "my-node", "--output", path, "--direct", "-c", uri];
    const { code, stdout, stderr } = await cli(generate);
    expect({ code, stderr }).toEqual({ code: 0, stderr: expect.stringContaining("100.0%") });
    expect(stdout).toContain(`${path} on server localhost`);
    const env = { PGHOST: "localhost", PGPORT: `${a.port}`, PGUSER: "postgres" };
    expect(await cli(["schema", "compare", "node-a", "node-b", "--direct"], { env })).toMatchObject(
      {
        code: 1,
        stdout: expect.stringContaining("mismatch"),
      },
    );
    expect(await cli(["node", "status", "--direct"], { env })).toMatchObject({ code: 0 });
  });

  test.each([
    [["node", "list"]],
    [["schema", "compare", "node-a", "node-b"]],
    [["schema", "diff", "node-a", "node-b", `public."o'dd ""name"""`]],
    [["schema", "capture", "node-a"]],
    [["snapshot", "list"]],
    [["snapshot", "progress"]],
    [["analyze-overlap", "node-b", "--tables", "public.orders"]],
    [["merge", "progress"]],
    [["merge", "conflicts", "--all"]],
    [["ops", "list"]],
    [["health"]],
  ] as const)("%s prints on a terminal what it prints in a pipe, with colours", async (args) => {
    const piped = await cli([...args, "-c", a.uri()]);
    const shown = await cli([...args, "-c", a.uri()], { terminal: true });
    expect(shown.code).toBe(piped.code);
    expect(shown.stdout).toContain("\u001b[1m");
    // biome-ignore lint/suspicious/noControlCharactersInRegex: colours
    const plain = shown.stdout.replace(/\u001b\[\d+m/g, "").replaceAll("\r\n", "\n");
    expect(plain.replace(/ +$/gm, "")).toBe(piped.stdout.replace(/ +$/gm, ""));
    expect(piped.stderr).toBe("");
  });
});

describe("what goes wrong", () => {
  test.each([
    [2, ["snapshot", "generate"], "required option '-o, --output <path>'"],
    [2, ["snapshot", "list", "--bad"], "unknown option '--bad'"],
    [2, ["snapshot", "generate", "-o", "/x", "--parallel", "many"], "it is not a whole number"],
    [2, ["snapshot", "generate", "-o", "/x", "--parallel", "65"], "parallel must be between"],
    [2, ["snapshot", "generate", "-o", "/x", "--timeout", "0"], "seconds above 0"],
    [2, ["snapshot", "generate", "node-b", "-o", "/x"], "is registered as another cluster"],
    [2, ["snapshot", "apply", "node-b", "-i", "/x"], "is registered as another server"],
    [2, ["ops", "wait", "abc"], '"abc" is no operation id'],
    [3, ["ops", "wait", "12"], "operation 12 does not exist"],
    [3, ["snapshot", "progress", "snap_x"], '"snap_x" does not exist'],
    [2, ["snapsot", "list"], "unknown command 'snapsot' (Did you mean snapshot?)"],
    [2, ["node", "register", "n", "--priority", "101"], "priority must be between"],
    [6, ["health", "--remote", "127.0.0.1:7000"], "no steep-repl daemon yet"],
    [2, ["health", "--remote", "127.0.0.1:7000", "--direct"], "exclude each other"],
  ] as const)("%i %s", async (code, args, message) => {
    const { stdout, stderr } = await on(code, args);
    expect(stdout).toBe("");
    expect(stderr).toEqual(oneLine);
    expect(stderr).toContain(message);
    expect(stderr).toMatch(/; hint: |must be between/);
  });

  test("a path that is refused", async () => {
    await a.query(`create role plain login; grant usage on schema steep_repl to plain;
      grant select, insert, update, delete on all tables in schema steep_repl to plain`);
    const { code, stderr } = await cli([
      "snapshot",
      "generate",
      "-o",
      "/elsewhere",
      "-c",
      a.uri("postgres", "plain"),
    ]);
    expect(code).toBe(3);
    expect(stderr).toEqual(oneLine);
    expect(stderr).toContain("steep_repl.snapshot_directories");
  });

  test("a database without the extension, and a role without the schema", async () => {
    const without = await cli(["health", "--direct", "-c", a.uri("template1")]);
    expect(without).toMatchObject({ code: 6, stdout: "", stderr: oneLine });
    expect(without.stderr).toContain("CREATE EXTENSION steep_repl CASCADE");
    await a.query("create role outsider login");
    const outsider = await cli(["health", "-c", a.uri("postgres", "outsider")]);
    expect(outsider).toMatchObject({ code: 6, stderr: oneLine });
    expect(outsider.stderr).toContain("GRANT USAGE ON SCHEMA steep_repl TO");
  });

  test("health is in the exit code, by the PG* variables", async () => {
    const env = { PGHOST: "127.0.0.1", PGPORT: `${a.port}`, PGUSER: "postgres" };
    const { code, stdout } = await cli(["health"], { env });
    // an earlier job failed
    expect({ code, stdout }).toEqual({
      code: stdout.includes("degraded") ? 1 : 0,
      stdout: expect.stringMatching(/^status +(healthy|degraded)\n/),
    });
    const launcher = await a.pidsByApplicationName("steep_repl launcher");
    await a.query("create publication everything for all tables");
    const degraded = await cli(["health", "--json"], { env });
    await a.query("drop publication everything");
    expect(degraded.code).toBe(1);
    expect(JSON.parse(degraded.stdout)).toMatchObject({ status: "degraded" });
    expect(launcher).toHaveLength(1);
    await waitUntil(
      () => cli(["health"], { env }),
      (r) => r.code === code,
      "health is as before",
    );
  });
});
