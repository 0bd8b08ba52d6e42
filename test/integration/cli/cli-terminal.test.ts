import { readFileSync } from "node:fs";
import type { Client } from "pg";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { cli, jsonLines, type RunningCli, startCli } from "../../support/cli.ts";
import { run } from "../../support/pg.ts";
import { signal } from "../../support/processes.ts";
import { type Server, startServer } from "../../support/server.ts";
import { freshPath } from "../../support/snapshots.ts";
import { waitUntil } from "../../support/wait-until.ts";

const esc = "\u001b";

let server: Server;
/** With a password that the server does not ask for, and nobody may see. */
let conninfo: string;

beforeAll(async () => {
  server = await startServer({
    name: "cli-terminal",
    settings: { max_worker_processes: 16, "steep_repl.poll_interval": "1s" },
  });
  await server.query(`create extension steep_repl cascade;
    create table public.held as select i, repeat('x', 100) as t from generate_series(1, 1000) i`);
  conninfo = `host=127.0.0.1 port=${server.port} user=postgres dbname=postgres password=topsecret`;
});
afterAll(() => server.destroy());

/** A command in a database of its own whose session says nothing: the other tests need not wait until it is taken for gone. */
let silenced: { readonly running: RunningCli; readonly pid: number; readonly holder: Client };
beforeAll(async () => {
  await server.createDatabase("silent", { extension: true });
  const holder = await server.connect({ database: "silent" });
  await holder.query("create table held as select 1 as i");
  await holder.query("begin; lock table held in access exclusive mode");
  const at = conninfo.replace("dbname=postgres", "dbname=silent");
  const running = startCli(["snapshot", "generate", "--output", freshPath(server), "-c", at]);
  await running.until(/schema/);
  const [session] = await server.query<{ pid: number }>(`select pid ${sessionsOf("silent")}`);
  const pid = Number(session?.pid);
  signal(pid, "SIGSTOP");
  silenced = { running, pid, holder };
});
afterAll(async () => {
  if (silenced === undefined) return;
  signal(silenced.pid, "SIGCONT");
  await silenced.holder.end();
});

/** Those of the command line in a database. */
function sessionsOf(database: string): string {
  return `from pg_stat_activity where application_name = 'steep-repl' and datname = '${database}'`;
}

let holder: Client | undefined;
// what a failed test left would hold up the others
afterEach(() => holder?.end().catch(() => {}));

/** Keep snapshots from copying until the returned session ends. */
async function hold(): Promise<Client> {
  holder = await server.connect();
  await holder.query("begin; lock table public.held in access exclusive mode");
  return holder;
}

function generate(...flags: string[]): string[] {
  return ["snapshot", "generate", "--output", freshPath(server), "-c", conninfo, ...flags];
}

async function snapshotCount(): Promise<number> {
  return (await server.query("select from steep_repl.snapshots")).length;
}

async function stopHeld(running: RunningCli, holder: Client) {
  await holder.end();
  return running.end;
}

describe("progress", () => {
  test("is a bar on a terminal, and the result a table with colours", async () => {
    const holder = await hold();
    const running = startCli(generate(), { terminal: true });
    await running.until(/schema .*[█░].*\d%/);
    const { code, stdout } = await stopHeld(running, holder);
    expect(code).toBe(0);
    expect(stdout).toContain(`${esc}[1mstatus${esc}[22m`);
    expect(stdout).toMatch(/status\S* +complete\r\n/);
    // the cursor is there again
    expect(stdout.lastIndexOf(`${esc}[?25h`)).toBeGreaterThan(stdout.lastIndexOf(`${esc}[?25l`));
  });

  test("has no colours with NO_COLOR", async () => {
    const { code, stdout } = await cli(generate(), { terminal: true, env: { NO_COLOR: "1" } });
    expect(code).toBe(0);
    expect(stdout).toMatch(/[█░]/);
    // biome-ignore lint/suspicious/noControlCharactersInRegex: it is what must not be there
    expect(stdout).not.toMatch(/\u001b\[[0-9;]*m/);
  });

  test("is lines in a pipe, at most one a second, and the result alone on stdout", async () => {
    const holder = await hold();
    const running = startCli(generate());
    const began = performance.now();
    await running.until(/^schema/m);
    const { code, stdout, stderr } = await stopHeld(running, holder);
    const seconds = (performance.now() - began) / 1000;
    expect(code).toBe(0);
    expect(stdout + stderr).not.toContain(esc);
    expect(stdout).toMatch(/^snapshot_id +snap_/);
    expect(stdout).not.toContain("schema");
    // the first and the last come when they do
    expect(stderr.trimEnd().split("\n").length).toBeLessThanOrEqual(seconds + 3);
  });

  test("is a bar for an apply, too; what follows is shown on a terminal as in a pipe", async () => {
    const { storage_path: path } = JSON.parse((await cli(generate("--json"))).stdout);
    await server.createDatabase("copy", { extension: true });
    const apply = ["snapshot", "apply", "--input", path, "-c", `${conninfo} dbname=copy`];
    const applied = await cli(apply, { terminal: true });
    expect(applied.code).toBe(0);
    expect(applied.stdout).toMatch(/[█░]/);
    expect(applied.stdout).toMatch(/rows_written\S* +1000\r\n/);
    await server.query("insert into steep_repl.nodes (node_id, node_name) values ('far', 'Far')");
    for (const args of [
      ["snapshot", "verify", path, "-c", conninfo],
      ["node", "status", "-c", conninfo],
    ]) {
      const [piped, shown] = [await cli(args), await cli(args, { terminal: true })];
      expect([piped.code, shown.code]).toEqual([0, 0]);
      // biome-ignore lint/suspicious/noControlCharactersInRegex: colours, which a pipe does not get
      expect(shown.stdout.replaceAll(/\u001b\[[0-9;]*m|\r/g, "")).toBe(piped.stdout);
    }
    await server.query("delete from steep_repl.nodes");
  });

  test("is lines of JSON with --json, on a terminal too", async () => {
    const piped = await cli(generate("--json"));
    expect(jsonLines(piped.stderr).at(-1)).toMatchObject({ status: "complete", phase: "complete" });
    expect(jsonLines(piped.stdout)).toMatchObject([{ status: "complete" }]);
    const { stdout } = await cli(generate("--json"), { terminal: true });
    for (const line of jsonLines(stdout)) expect(line).toHaveProperty("snapshot_id");
  });
});

describe("Ctrl-C", () => {
  test.each([true, false])(
    "leaves the job running and prints two commands (terminal: %s)",
    async (terminal) => {
      const holder = await hold();
      const running = startCli(generate("--direct"), { terminal });
      await running.until(/schema/);
      if (terminal) running.type("\u0003");
      else running.interrupt();
      const { code } = await running.end;
      expect(code).toBe(130);
      expect(running.printed).not.toContain("topsecret");
      const [, attach = "", cancel = ""] =
        /^ {2}steep-repl (ops wait .*?)\r?\n {2}steep-repl (ops cancel .*?)\r?$/m.exec(
          running.printed,
        ) ?? [];
      expect(
        await server.query(
          "select status from steep_repl.snapshots order by created_at desc limit 1",
        ),
      ).toEqual([{ status: "running" }]);

      const attached = startCli(await words(attach));
      await attached.until(/schema/);
      expect(await cli(await words(cancel))).toMatchObject({ code: 0 });
      expect(await attached.end).toMatchObject({ code: 4 });
      await holder.end();
    },
  );

  test("cancels what the server does at once, and so does --timeout", async () => {
    holder = await server.connect();
    await holder.query("begin; lock table steep_repl.nodes in access exclusive mode");
    const list = ["node", "list", "-c", conninfo];
    const blocked = startCli(list);
    const active = () => server.query(`select pid ${sessionsOf("postgres")} and state = 'active'`);
    await waitUntil(active, (rows) => rows.length === 1, "the query waits for the lock");
    blocked.interrupt();
    expect(await blocked.end).toMatchObject({ code: 130, stdout: "" });
    await waitUntil(active, (rows) => rows.length === 0, "the query is cancelled");
    expect(await cli([...list, "--timeout", "0.5"])).toMatchObject({
      code: 5,
      stderr: "steep-repl: timed out after 0.5 s; hint: raise --timeout\n",
    });
  });
});

/** What a shell makes of a line. */
async function words(line: string): Promise<string[]> {
  const { stdout } = await run("sh", ["-c", `printf '%s\\n' ${line}`]);
  return stdout.trimEnd().split("\n");
}

describe("questions", () => {
  test("no changes nothing, yes does it, Ctrl-C ends it", async () => {
    expect(
      await cli(["node", "register", "gone", "-c", conninfo], { terminal: true }),
    ).toMatchObject({ code: 0 });
    const remove = ["node", "remove", "gone", "-c", conninfo];
    for (const [keys, expected] of [
      ["n\n", 4],
      ["\n", 4],
      ["\u0003", 130],
      ["\u0004", 4],
      ["y\n", 0],
    ] as const) {
      expect(await server.query("select node_id from steep_repl.nodes")).toHaveLength(1);
      const running = startCli(remove, { terminal: true });
      await running.until(/Remove node "gone"\? \[y\/N\]/);
      running.type(keys);
      expect(await running.end, JSON.stringify(keys)).toMatchObject({ code: expected });
    }
    expect(await server.query("select node_id from steep_repl.nodes")).toHaveLength(0);
  });

  test("dropping a snapshot shows the path and the server", async () => {
    const { stdout } = await cli(generate("--json"));
    const { snapshot_id: id, storage_path: path } = JSON.parse(stdout);
    const before = await snapshotCount();
    const running = startCli(["snapshot", "drop", id, "-c", conninfo], { terminal: true });
    await running.until(/\[y\/N\]/);
    expect(running.printed).toContain(`${path} on server 127.0.0.1 (1 tables, 1000 rows,`);
    running.type("yes\n");
    expect(await running.end).toMatchObject({ code: 0 });
    expect(await snapshotCount()).toBe(before - 1);
  });
});

describe("a connection that is lost", () => {
  const terminateOurs = `select pg_terminate_backend(pid) ${sessionsOf("postgres")}`;

  test("is one that says nothing, too", async () => {
    const { running, pid, holder } = silenced;
    await running.until(/does not answer[\s\S]*reconnected/, 30_000);
    signal(pid, "SIGCONT");
    expect(await stopHeld(running, holder)).toMatchObject({ code: 0 });
  });

  test.each([true, false])(
    "is made again, and progress goes on (terminal: %s)",
    async (terminal) => {
      const holder = await hold();
      const running = startCli(generate(), { terminal });
      await running.until(/schema/);
      expect(await server.query(terminateOurs)).toHaveLength(1);
      await running.until(/connection lost .*trying to reconnect[\s\S]*reconnected/);
      await running.until(/reconnected[\s\S]*schema/);
      expect(await stopHeld(running, holder)).toMatchObject({ code: 0 });
    },
  );

  test("is waited for while the server restarts; the job's end is told", async () => {
    const holder = await hold();
    const running = startCli(generate());
    await running.until(/schema/);
    await server.stop("immediate");
    await running.until(/connection lost/);
    await server.start();
    const { code, stderr } = await running.end;
    holder.end().catch(() => {});
    expect(code).toBe(3);
    expect(stderr).toMatch(/reconnected\n(?:[\s\S]*\n)?steep-repl: [^\n]+; hint: [^\n]+\n$/);
  });

  test("is given up after --reconnect-timeout, with the commands to go on", async () => {
    await server.configure({ "steep_repl.reserved_worker_slots": 1000 });
    const running = startCli(generate("--reconnect-timeout", "0.5"));
    await running.until(/waiting/);
    await server.stop();
    const { code, stderr } = await running.end;
    expect(code).toBe(6);
    expect(stderr).toMatch(
      /goes on in the server[\s\S]*ops wait \d+[\s\S]*\nsteep-repl: connection to server [^\n]+ refused; hint: [^\n]+\n$/,
    );
    expect(await cli(["ops", "list", "-c", conninfo])).toMatchObject({ code: 6, stdout: "" });
    await server.start();
    await server.configure({ "steep_repl.reserved_worker_slots": 3 });
  });
});

test("a server that goes away in a query is told in one line", async () => {
  holder = await server.connect();
  await holder.query("begin; lock table steep_repl.nodes in access exclusive mode");
  const running = startCli(["node", "list", "-c", conninfo]);
  const ours = `${sessionsOf("postgres")} and state = 'active'`;
  const waiting = () => server.query(`select pid ${ours}`);
  await waitUntil(waiting, (rows) => rows.length === 1, "the query waits for the lock");
  await server.query(`select pg_terminate_backend(pid) ${ours}`);
  expect(await running.end).toMatchObject({
    code: 6,
    stdout: "",
    stderr: expect.stringMatching(/^steep-repl: the connection was lost: [^\n]+; hint: [^\n]+\n$/),
  });
});

test("a password of the command line is not in the list of processes", async () => {
  const holder = await hold();
  const running = startCli(generate());
  await running.until(/schema/);
  const commandLine = readFileSync(`/proc/${running.child.pid}/cmdline`, "utf8");
  expect(commandLine).toContain("steep-repl");
  expect(commandLine).not.toContain("topsecret");
  await stopHeld(running, holder);
});

test("who reads our output may stop early", async () => {
  await server.query(`insert into steep_repl.nodes (node_id, node_name)
    select 'n' || i, repeat('x', 60) from generate_series(1, 3000) i`);
  const child = startCli(["node", "list", "-c", conninfo]);
  child.child.stdout?.destroy();
  expect(await child.end).toMatchObject({ code: 0, stderr: "" });
});
