import { beforeAll, describe, expect, test } from "vitest";
import { cli } from "../../support/cli.ts";
import { type CliPair, oneLine, setCliPair } from "../../support/cli-pair.ts";
import { freshPath } from "../../support/snapshots.ts";
import { waitUntil } from "../../support/wait-until.ts";

let pair: CliPair;
setCliPair("cli-errors", (made) => {
  pair = made;
});

// so that each list has something in it
beforeAll(async () => {
  for (const server of [pair.a, pair.b]) {
    await server.query(`insert into public.orders values (30, '${server.name}', 1)`);
  }
  await pair.on(0, ["snapshot", "generate", "-o", freshPath(pair.a)]);
  const merge = ["merge", "start", "node-b", "--tables", "public.orders"];
  await pair.on(1, [...merge, "--strategy", "manual", "--yes"]);
});

describe("as written in the manual", () => {
  test("the role with its password, and the PG* variables", async () => {
    await pair.a.createDatabase("mydb", { extension: true });
    await pair.a.query(
      `create role steep_repl with login replication password 'password';
       grant usage on schema steep_repl to steep_repl;
       grant select, insert, update, delete on all tables in schema steep_repl to steep_repl;
       grant select on all tables in schema public to steep_repl`,
      [],
      { database: "mydb" },
    );
    const uri = `postgresql://steep_repl:password@localhost:${pair.a.port}/mydb`;
    const path = freshPath(pair.a);
    const generate = ["snapshot", "generate", "my-node", "--output", path, "--direct", "-c", uri];
    const { code, stdout, stderr } = await cli(generate);
    expect({ code, stderr }).toEqual({ code: 0, stderr: expect.stringContaining("100.0%") });
    expect(stdout).toContain(`${path} on server localhost`);
    const env = { PGHOST: "localhost", PGPORT: `${pair.a.port}`, PGUSER: "postgres" };
    expect(await cli(["schema", "compare", "node-a", "node-b", "--direct"], { env })).toMatchObject(
      {
        code: 1,
        stdout: expect.stringContaining("local_only"),
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
    const piped = await cli([...args, "-c", pair.a.uri()]);
    const shown = await cli([...args, "-c", pair.a.uri()], { terminal: true });
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
    [2, ["health", "--remote", "127.0.0.1:7000"], "-c and --remote exclude each other"],
    [2, ["health", "--remote", "127.0.0.1:7000", "--direct"], "exclude each other"],
  ] as const)("%i %s", async (code, args, message) => {
    const { stdout, stderr } = await pair.on(code, args);
    expect(stdout).toBe("");
    expect(stderr).toEqual(oneLine);
    expect(stderr).toContain(message);
    expect(stderr).toMatch(/; hint: |must be between/);
  });

  test("a path that is refused", async () => {
    await pair.a.query(`create role plain login; grant usage on schema steep_repl to plain;
      grant select, insert, update, delete on all tables in schema steep_repl to plain`);
    const { code, stderr } = await cli([
      "snapshot",
      "generate",
      "-o",
      "/elsewhere",
      "-c",
      pair.a.uri("postgres", "plain"),
    ]);
    expect(code).toBe(3);
    expect(stderr).toEqual(oneLine);
    expect(stderr).toContain("steep_repl.snapshot_directories");
  });

  test("a database without the extension, and a role without the schema", async () => {
    const without = await cli(["health", "--direct", "-c", pair.a.uri("template1")]);
    expect(without).toMatchObject({ code: 6, stdout: "", stderr: oneLine });
    expect(without.stderr).toContain("CREATE EXTENSION steep_repl CASCADE");
    await pair.a.query("create role outsider login");
    const outsider = await cli(["health", "-c", pair.a.uri("postgres", "outsider")]);
    expect(outsider).toMatchObject({ code: 6, stderr: oneLine });
    expect(outsider.stderr).toContain("GRANT USAGE ON SCHEMA steep_repl TO");
  });

  test("health is in the exit code, by the PG* variables", async () => {
    const env = { PGHOST: "127.0.0.1", PGPORT: `${pair.a.port}`, PGUSER: "postgres" };
    const { code, stdout } = await cli(["health"], { env });
    // an earlier job failed
    expect({ code, stdout }).toEqual({
      code: stdout.includes("degraded") ? 1 : 0,
      stdout: expect.stringMatching(/^status +(healthy|degraded)\n/),
    });
    const launcher = await pair.a.pidsByApplicationName("steep_repl launcher");
    await pair.a.query("create publication everything for all tables");
    const degraded = await cli(["health", "--json"], { env });
    await pair.a.query("drop publication everything");
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
