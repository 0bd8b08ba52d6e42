import { afterAll, beforeAll, expect, test, vi } from "vitest";
import { sideOf } from "../../../cli/commands/pair-link-facts.ts";
import { makeMissing } from "../../../cli/commands/pair-link-write.ts";
import { resolveTarget } from "../../../cli/connection/resolve.ts";
import { startCli } from "../../support/cli.ts";
import { cliHere } from "../../support/cli-here.ts";
import { oneLine } from "../../support/cli-pair.ts";
import { pairSettings, replicationObjects } from "../../support/pair-nodes.ts";
import { type Server, startServer } from "../../support/server.ts";

/* A pair from two connection strings, and what becomes of it, by the command line alone. */

vi.setConfig({ testTimeout: 120_000 });

let a: Server;
let b: Server;
let before: unknown;

const target = resolveTarget("host=127.0.0.1", {
  ...{ variables: {}, home: "/nonexistent", user: "nobody", warn: () => {} },
});

/** It has what quoting could get wrong, and what must not be seen anywhere. */
const password = `s3cr3t' \\ "$block$%`;

beforeAll(async () => {
  const settings = pairSettings;
  const hba = ["host all admin 127.0.0.1/32 scram-sha-256"];
  [a, b] = await Promise.all([
    startServer({ name: "cli-pair-a", settings, hba }),
    startServer({ name: "cli-pair-b", settings, hba, identity: "peer" }),
  ]);
  for (const server of [a, b]) {
    await server.query(
      `create role admin login superuser password '${password.replaceAll("'", "''")}'`,
    );
    await server.configure({ log_statement: "all", log_min_duration_statement: 0 });
  }
  await a.query(`create table t (id serial primary key, v text);
    insert into t (v) select 'row ' || i from generate_series(1, 500) i`);
  before = await Promise.all([a, b].map(replicationObjects));
});
afterAll(async () => {
  await a?.destroy();
  await b?.destroy();
});

const tables = ["--tables", "public.t"];

const conninfo = ({ port }: Server) =>
  `host=127.0.0.1 port=${port} dbname=postgres user=admin password='${password.replace(/['\\]/g, "\\$&")}'`;

async function expectNoSecret(): Promise<void> {
  for (const server of [a, b]) {
    const lines = (await server.log()).split("\n");
    expect(lines.filter((line) => line.includes("s3cr3t"))).toEqual([]);
  }
}

async function pair(code: number, args: readonly string[], connected = true) {
  const words = ["pair", ...args, ...(connected ? ["-c", conninfo(a)] : [])];
  const result = await cliHere(words);
  expect(result, `steep-repl ${args.join(" ")}: ${result.stderr}`).toMatchObject({ code });
  expect(result.stdout + result.stderr).not.toContain("s3cr3t");
  return result;
}

test("two connection strings are enough, and the password is seen nowhere", async () => {
  const link = ["--peer", conninfo(b), "--local-name", "node_a"];
  // nobody to ask
  const asked = await pair(2, ["check", "node_b", ...link]);
  expect(asked.stderr).toContain("password '****'");
  expect(await a.query("select from pg_foreign_server")).toEqual([]);

  const planned = await pair(1, ["start", "node_b", ...link, "--plan"]);
  expect(planned.stdout).toContain(
    `create server "node_b" foreign data wrapper dblink_fdw options (host '127.0.0.1', port '${b.port}', dbname 'postgres')`,
  );
  expect(planned.stdout).toContain("-- missing at the peer");

  const checked = await pair(0, ["check", "node_b", ...link, "--yes"]);
  expect(checked.stderr).toContain("created at the peer");
  expect(checked.stderr).toMatch(/checks: 0 problems, \d+ warnings?\n/);
  // the peer's node is found by where it leads, also if its name is not given
  await b.query("update steep_repl.nodes set system_identifier = null");
  const found = await pair(0, ["check", "node_b", "--peer", conninfo(b)]);
  expect(found.stderr).not.toContain("missing");
  // a node that exists is the peer of --peer, or refused
  await b.createDatabase("other");
  const other = conninfo(b).replace("dbname=postgres", "dbname=other");
  expect((await pair(2, ["check", "node_b", "--peer", other])).stderr).toContain(
    'node "node_b" here is another database than the one of --peer',
  );
  // nothing is missing any more
  expect((await pair(0, ["check", "node_b", ...link, "--all"])).stderr).not.toContain("create");
  await expectNoSecret();
  expect(await a.query("select umoptions from pg_user_mapping")).toEqual([
    { umoptions: ["user=admin", `password=${password}`] },
  ]);
});

interface Planned {
  readonly kind: string;
  readonly name: string;
  readonly side: string;
  readonly sql: string;
}

/** The statements of a plan, as they are printed with --json. */
async function planOf(args: readonly string[]): Promise<readonly Planned[]> {
  const { stdout } = await pair(0, ["start", "node_b", ...args, "--plan", "--json"]);
  return (JSON.parse(stdout) as Planned[]).filter(({ kind }) => kind === "statement");
}

/** The steps that were done since the last time, and do more than to look. */
async function stepsDone(): Promise<readonly string[]> {
  const rows = await a.query<{ step: string }>(
    "with d as (delete from steps returning *) select step from d order by no",
  );
  return rows.map(({ step }) => step).filter(doesSomething);
}

const doesSomething = (step: string) =>
  step !== "plan" && step !== "connecting" && !step.startsWith("transactions ");

test("a plan has the steps that are run then", async () => {
  await a.query(`create table steps (no serial, step text);
    create function note() returns trigger language plpgsql set search_path = public as $$
      begin insert into steps (step) values (new.step); return new; end $$;
    create trigger note after update of step on steep_repl.pairs
      for each row when (new.step is not null) execute function note()`);
  const planned = await planOf(tables);
  const { stdout } = await pair(0, ["start", "node_b", ...tables, "--plan"]);
  expect(stdout).toContain("-- publishing, here: publication here\ncreate publication");
  expect(await b.query("select from pg_publication")).toEqual([]);

  expect(await pair(2, ["start", "node_b", ...tables])).toMatchObject({
    ...{ stdout: "", stderr: oneLine },
  });
  const begun = await pair(0, ["start", "node_b", ...tables, "--yes", "--no-wait", "--json"]);
  expect(begun.stderr).toContain("the peer is filled from here");
  const [, operation = ""] = /"operation_id":(\d+)/.exec(begun.stdout) ?? [];
  const done = await cliHere(["ops", "wait", operation, "-c", conninfo(a)]);
  expect(done).toMatchObject({ code: 0, stdout: expect.stringMatching(/status +complete/) });
  expect(await b.query("select count(*)::int as n from t")).toEqual([{ n: 500 }]);
  expect(planned.map(({ name }) => name)).toEqual(await stepsDone());
  const log = await b.log();
  for (const { sql } of planned.filter(({ side }) => side === "peer")) {
    const pattern = sql.replaceAll(/[.*+?^${}()|[\]\\]/g, "\\$&").replaceAll(/[A-Z]+_ID/g, "\\w+");
    expect(log).toMatch(new RegExp(pattern));
  }
});

test("what cannot be created is told, without its password", async () => {
  const client = await a.connect();
  const side = await sideOf({ client, candidate: target.candidates[0] }, target, "here");
  const made = makeMissing({
    ...{ side, node: "node_x", server: "nowhere", extension: false, options: null },
    mapping: { user: "admin", password },
    registration: null,
  });
  await expect(made).rejects.toThrow('server "nowhere" does not exist');
  await expectNoSecret();
  // a foreign server that leads elsewhere is not taken for the one that is wanted
  await client.query("create server node_x foreign data wrapper dblink_fdw options (host 'else')");
  const { stderr } = await pair(3, ["check", "node_x", "--peer", conninfo(b), "--yes"]);
  expect(stderr).toContain("its host is else and not 127.0.0.1");
  expect((await pair(2, ["check", "node_x", "--peer", conninfo(a)])).stderr).toContain(
    "lead to the same database",
  );
  // where the server asks for none
  await makeMissing({
    ...{ side, node: "node_x", server: "node_x", extension: false, options: null },
    mapping: { user: "admin", password: undefined },
    registration: null,
  });
  const { rows } = await client.query(
    "select umoptions from pg_user_mappings where srvname = 'node_x'",
  );
  expect(rows).toEqual([{ umoptions: ["user=admin"] }]);
  await client.query("drop server node_x cascade");
  await client.end();
});

test("status, cancel and ops know a pair, and drop takes it apart", async () => {
  const status = JSON.parse((await pair(0, ["status", "--json"])).stdout);
  expect(status).toMatchObject([{ status: "complete", phase: "complete" }]);
  const [{ pair_id: id }] = status;
  expect(await pair(3, ["cancel", id])).toMatchObject({ stderr: oneLine });
  const ops = await cliHere(["ops", "list", "-c", conninfo(a)]);
  expect(ops.stdout).toContain(id);
  expect(await pair(2, ["drop", "node_b"])).toMatchObject({ stdout: "", stderr: oneLine });
  const dropped = await pair(0, ["drop", "node_b", "--yes"]);
  expect(dropped.stdout).toMatch(/peer +subscription steep_node_b_from_node_a +yes/);
  expect(await Promise.all([a, b].map(replicationObjects))).toEqual(before);
  await pair(3, ["drop", "node_x", "--yes"]);
});

test("start tells problems before it asks, and check lists them with what to do", async () => {
  // the peer has rows now
  const checked = await pair(1, ["check", "node_b"]);
  expect(checked.stdout).toMatch(/problem/);
  const { stderr } = await pair(3, ["start", "node_b", "--yes"]);
  expect(stderr).toMatch(/problem \(peer\).*fix: /);
  expect(stderr).toContain("steep-repl pair check node_b");
  await pair(0, ["check", "node_b", ...tables, "--existing", "merge"]);
});

test("on a terminal a pair asks, and shows its phases", async () => {
  await a.query("insert into t (v) values ('only here')");
  const merge = [...tables, "--existing", "merge"];
  const planned = await planOf(merge);
  const names = planned.map(({ name }) => name);
  const kept = await planOf([...tables, "--existing", "keep"]);
  expect(kept.map(({ name }) => name)).toEqual(names.filter((name) => name !== "merge"));
  const args = ["pair", "start", "node_b", ...merge, "-c", conninfo(a)];
  const refused = startCli(args, { terminal: true });
  await refused.until(/\? \[y\/N\]/);
  expect(refused.printed).toContain("LOSES: the peer's rows that differ are overwritten");
  refused.type("n\n");
  expect((await refused.end).code).toBe(4);
  await b.query("update t set v = 'changed there' where id = 1");
  const running = startCli([...args, "--strategy", "manual"], { terminal: true });
  await running.until(/\? \[y\/N\]/);
  running.type("y\n");
  const { code, stdout } = await running.end;
  expect(code).toBe(1);
  expect(stdout).toMatch(/1 row left to be resolved; see steep-repl merge conflicts merge_/);
  expect(stdout).toMatch(/done +\w[\w ]* +\d+\.\d s/);
  expect(stdout).not.toContain("s3cr3t");
  expect(names).toEqual(await stepsDone());
});

test("a database without dblink gets it, and the extension", async () => {
  for (const server of [a, b]) {
    await server.query("create database bare template template0");
    await server.query("create table t (id int primary key)", [], { database: "bare" });
  }
  const of = (server: Server) => conninfo(server).replace("dbname=postgres", "dbname=bare");
  const words = ["pair", "check", "bare_b", "--local-name", "bare_a", "--yes"];
  const result = await cliHere([...words, "-c", of(a), "--peer", of(b)]);
  expect(result, result.stderr).toMatchObject({ code: 0 });
  for (const server of [a, b]) {
    expect(
      await server.query(
        "select extname from pg_extension where extname in ('dblink', 'steep_repl')",
        [],
        {
          database: "bare",
        },
      ),
    ).toHaveLength(2);
    await server.query("drop database bare with (force)");
  }
});

test("with an unreachable peer drop --force lists what to run there", async () => {
  await b.stop();
  await pair(6, ["drop", "node_b", "--yes"]);
  const { stderr } = await pair(1, ["drop", "node_b", "--force", "--yes"]);
  expect(stderr).toMatch(/alter subscription steep_node_b_from_node_a disable;.*drop subscription/);
  expect(stderr).toContain("drop publication");
  expect((await a.query("select from pg_subscription")).length).toBe(0);
  await expectNoSecret();
});
