import { describe, expect, test } from "vitest";
import { cli, jsonLines } from "../../support/cli.ts";
import { type CliPair, oneLine, setCliPair } from "../../support/cli-pair.ts";
import { freshPath } from "../../support/snapshots.ts";

let pair: CliPair;
setCliPair("cli-commands", (made) => {
  pair = made;
});

describe("nodes", () => {
  test("are registered, listed and removed, whatever they are called", async () => {
    await pair.a.query("delete from steep_repl.nodes");
    const name = `it's "b" 🐘`;
    await pair.json(0, [
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
    expect(await pair.json(0, ["node", "list"])).toMatchObject([
      { node_id: name, port: 1, priority: 7 },
    ]);
    const { stdout } = await pair.on(0, ["node", "list"]);
    expect(stdout).toContain(name);
    expect(stdout.trimEnd().split("\n")).toHaveLength(2);

    const refused = await pair.on(2, ["node", "remove", name]);
    expect(refused).toMatchObject({ stdout: "", stderr: oneLine });
    expect(refused.stderr).toContain("--yes");
    expect(await pair.on(0, ["node", "remove", name, "--yes"])).toMatchObject({
      stderr: expect.stringContaining("127.0.0.1, port 1"),
    });
    expect(await pair.json(0, ["node", "list"])).toEqual([]);
    expect(await pair.on(3, ["node", "remove", name, "--yes"])).toMatchObject({ stderr: oneLine });
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
    await pair.on(0, [
      "node",
      "register",
      "node-a",
      ...place(pair.a.port),
      "--username",
      "postgres",
    ]);
    await pair.on(0, [
      "node",
      "register",
      "node-b",
      ...place(pair.b.port),
      "--username",
      "postgres",
    ]);
    expect(await pair.json(0, ["node", "status", "--direct"])).toMatchObject([
      { node_id: "node-a", status: "online", is_local: true },
      { node_id: "node-b", status: "unknown" },
    ]);
    expect(await pair.json(0, ["node", "status", "node-b", "--probe"])).toMatchObject([
      { status: "online" },
    ]);
    expect((await pair.on(3, ["node", "status", "node-c"])).stderr).toContain(
      'node "node-c" is not registered',
    );
  });
});

describe("schemas", () => {
  test("compare says what differs, in the exit code too", async () => {
    const args = ["schema", "compare", "node-a", "node-b", "--direct"];
    expect((await pair.on(1, args)).stdout).toMatch(/o'dd "name" +[0-9a-f]{12} +local_only\n/);
    expect(await pair.json(1, [...args, "--differing"])).toHaveLength(1);
    await pair.b.query(`create table public."o'dd ""name""" (id int primary key)`);
    expect(await pair.json(0, args)).toMatchObject([{ status: "match" }, { status: "match" }]);
    expect(await pair.on(2, ["schema", "compare", "node-b", "node-a"])).toMatchObject({
      stderr: oneLine,
    });
  });

  test("diff gives the statements for the peer", async () => {
    const args = ["schema", "diff", "node-a", "node-b", `public."o'dd ""name"""`];
    expect(await pair.json(0, args)).toEqual([]);
    await pair.a.query(`alter table public."o'dd ""name""" add note text`);
    expect((await pair.on(1, args)).stdout).toContain(
      `\nalter table public."o'dd ""name""" add column note text;\n`,
    );
  });

  test("capture counts", async () => {
    expect(await pair.json(0, ["schema", "capture", "node-a"])).toEqual({ tables_captured: 2 });
  });
});

describe("snapshots", () => {
  test("generate, list, progress, verify, apply, drop", async () => {
    const path = freshPath(pair.a);
    const generated = await pair.on(0, [
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
    const [row] = await pair.json<{ snapshot_id: string }[]>(0, ["snapshot", "list"]);
    expect(row).toMatchObject({ node_id: "my-node", status: "complete", table_count: 2 });
    const id = row?.snapshot_id ?? "";
    expect(await pair.json(0, ["snapshot", "progress", id])).toMatchObject([
      { overall_percent: 100 },
    ]);
    expect((await pair.on(0, ["snapshot", "verify", path])).stdout).toBe(
      `${path} on server 127.0.0.1 is sound\n`,
    );

    await pair.a.createDatabase("copy", { extension: true });
    const applied = await cli([
      "snapshot",
      "apply",
      "--input",
      path,
      "--json",
      "-c",
      pair.a.uri("copy"),
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
      pair.a.uri("copy"),
    ];
    expect(await cli(again)).toMatchObject({ code: 2, stderr: oneLine });
    expect(await cli([...again, "--yes"])).toMatchObject({
      code: 0,
      stderr: expect.stringContaining("(127.0.0.1, database copy) loses the rows"),
    });

    expect(await pair.on(2, ["snapshot", "drop", id])).toMatchObject({ stderr: oneLine });
    expect((await pair.on(0, ["snapshot", "drop", id, "--yes"])).stderr).toContain(
      `${path} on server 127.0.0.1`,
    );
    expect(await pair.on(3, ["snapshot", "drop", id, "--yes"])).toMatchObject({ stderr: oneLine });
  });

  test("a damaged one is reported", async () => {
    const path = freshPath(pair.a);
    await pair.on(0, ["snapshot", "generate", "-o", path, "--compression", "none"]);
    await pair.a.query(`copy (select 'x') to '${path}/toc.dat'`);
    const damaged = await pair.on(1, ["snapshot", "verify", path]);
    expect(damaged.stdout).toMatch(/toc\.dat/);
    expect((await pair.on(1, ["snapshot", "verify", path, "--json"])).stdout).toMatch(
      /^\[\n {2}\{"file"/,
    );
  });

  test("--no-wait prints the id only, and ops know the job", async () => {
    const { stdout, stderr } = await pair.on(0, [
      "snapshot",
      "generate",
      "-o",
      freshPath(pair.a),
      "--no-wait",
    ]);
    expect(stdout).toMatch(/^snap_\w+\n$/);
    expect(stderr).toBe("");
    const operations = await pair.json<{ snapshot_id: string }[]>(0, ["ops", "list"]);
    expect(operations[0]?.snapshot_id).toBe(stdout.trim());
    // as text: the id has more digits than a number of JavaScript
    const text = (await pair.on(0, ["ops", "list", "--json"])).stdout;
    const id = /"id":(\d+)/.exec(text)?.[1] ?? "";
    // it may be over by now: then its end is noticed at once
    expect((await pair.on(0, ["ops", "wait", id])).stdout).toContain(stdout.trim());
    expect(await pair.on(3, ["ops", "cancel", id])).toMatchObject({ stderr: oneLine });
    expect(await pair.on(3, ["ops", "retry", id])).toMatchObject({ stderr: oneLine });
  });

  test("a job that fails or is cancelled says so", async () => {
    const failing = ["snapshot", "apply", "--input", freshPath(pair.a)];
    expect((await pair.on(3, failing)).stderr).toMatch(
      /\nsteep-repl: [^\n]+\n$|^steep-repl: [^\n]+\n$/,
    );
    await pair.a.configure({ "steep_repl.reserved_worker_slots": 1000 });
    try {
      const { stdout } = await pair.on(0, [
        "snapshot",
        "generate",
        "-o",
        freshPath(pair.a),
        "--no-wait",
        "--json",
      ]);
      const id = /"operation_id":(\d+)/.exec(stdout)?.[1] ?? "";
      expect((await pair.on(0, ["ops", "list", "--status", "pending"])).stdout).toMatch(
        new RegExp(`\\n *${id} `),
      );
      expect((await pair.on(5, ["ops", "wait", id, "--timeout", "0.1"])).stderr).toContain(
        `ops cancel ${id}`,
      );
      expect(await pair.json(0, ["ops", "cancel", id])).toMatchObject({ cancelled: true });
      for (const terminal of [false, true]) {
        await pair.on(0, ["ops", "retry", id, "--no-wait"], { terminal });
        await pair.on(0, ["ops", "cancel", id], { terminal });
        await pair.on(4, ["ops", "wait", id], { terminal });
      }
    } finally {
      await pair.a.configure({ "steep_repl.reserved_worker_slots": 3 });
    }
  });
});
