import { beforeAll, describe, expect, test } from "vitest";
import { cliHere, commandNames } from "../../support/cli-here.ts";
import { type CliPair, oneLine, setCliPair } from "../../support/cli-pair.ts";

/* What cannot be done is refused by every command alike: with an exit code, in one line, with what to do. */

let pair: CliPair;
setCliPair("cli-refused", (made) => {
  pair = made;
});

/** Arguments with which each command gets as far as its server. */
const commands: Readonly<Record<string, readonly string[]>> = {
  "snapshot generate": ["--output", "/x"],
  "snapshot apply": ["--input", "/x"],
  "snapshot fetch": ["snap_x", "--from", "node-x", "--output", "/x"],
  "snapshot download": ["snap_x", "--output", "/x"],
  "snapshot list": [],
  "snapshot verify": ["/x"],
  "snapshot progress": ["snap_x"],
  "snapshot drop": ["snap_x", "--yes"],
  "schema capture": ["node-x"],
  "schema compare": ["node-a", "node-x"],
  "schema diff": ["node-a", "node-x", "public.orders"],
  "node register": ["node-x"],
  "node list": [],
  "node status": ["node-x"],
  "node remove": ["node-x", "--yes"],
  "pair check": ["node-x"],
  "pair start": ["node-x", "--yes"],
  "pair status": ["pair_x"],
  "pair cancel": ["pair_x"],
  "pair drop": ["node-x", "--yes"],
  "replication status": ["node-x"],
  "analyze-overlap": ["node-x"],
  "overlap start": ["node-x"],
  "overlap list": [],
  "overlap tables": ["overlap_x"],
  "overlap rows": ["node-x", "public.orders"],
  "merge start": ["node-x", "--yes"],
  "merge progress": ["merge_x"],
  "merge rows-left": ["merge_x"],
  "merge conflicts": ["merge_x"],
  "merge resolve": ["12", "--choice", "local"],
  "merge undo": ["merge_x", "--yes"],
  "ops list": [],
  "ops cancel": ["12"],
  "ops retry": ["12"],
  "ops wait": ["12"],
  "ops leftovers": [],
  health: [],
};

const words = (command: string) => [...command.split(" "), ...(commands[command] ?? [])];

/** Run a command, and expect that it is refused in one line. */
async function refused(args: readonly string[], code: number, connection = pair.a.uri()) {
  const result = await cliHere([...args, "-c", connection]);
  expect(result, args.join(" ")).toMatchObject({ code, stdout: "", stderr: oneLine });
  return result.stderr;
}

test("all commands are tried here", () => {
  const connecting = commandNames().filter(
    (name) => !["daemon", "tls init", "snapshot inspect"].includes(name),
  );
  expect(Object.keys(commands).sort()).toEqual([...connecting].sort());
});

describe("no command connects", () => {
  beforeAll(() => pair.a.query("create role steep_repl login password 'right'"));
  const at = (): string => `host=127.0.0.1 port=${pair.a.port} dbname=postgres`;

  const mistakes: readonly (readonly [what: string, connection: () => string, hint: string])[] = [
    ["to an unknown host", () => "host=no..such..host user=x", "check the host's name"],
    ["to a wrong port", () => "host=127.0.0.1 port=1 user=x", "is the server running there"],
    [
      "with a wrong password",
      () => `${at()} user=steep_repl password=wrong`,
      'check the password of role "steep_repl"',
    ],
    ["without a password", () => `${at()} user=steep_repl`, "set PGPASSWORD"],
    ["as an unknown role", () => `${at()} user=nobody`, "name another role"],
    ["to an unknown database", () => `${at()} user=postgres dbname=nope`, "name an existing"],
  ];

  test.each(mistakes)("%s", async (_, connection, hint) => {
    for (const command of Object.keys(commands)) {
      const said = await refused(words(command), 6, connection());
      expect(said).toContain(`; hint: ${hint}`);
    }
  });
});

describe("an unknown name is an error", () => {
  /** Those that are given no name of anything, or a new one. */
  const nameless = (command: string) =>
    (commands[command] ?? []).every((word) => !/_x$|^12$|^node-x$/.test(word)) ||
    command === "node register";

  test.each(Object.keys(commands).filter((command) => !nameless(command)))(
    "of %s",
    async (command) => {
      const said = await refused(words(command), 3);
      expect(said).toMatch(/_x|12|node-x/);
      expect(said).toContain("; hint: ");
    },
  );

  test.each([
    [["overlap", "rows", "node-b", "public.orders", "--overlap-id", "overlap_x"], "overlap_x"],
    [["overlap", "rows", "node-b", "public.nothing"], "public.nothing"],
    [["analyze-overlap", "node-b", "--tables", "public.nothing"], "public.nothing"],
    [["overlap", "start", "node-b", "--tables", "public.nothing"], "public.nothing"],
    [["schema", "diff", "node-a", "node-b", "public.nothing"], "public.nothing"],
    [["merge", "resolve", "12", "--choice", "local", "--peer", "node-x"], "12"],
    [["ops", "retry", "12", "--peer", "node-x"], "12"],
  ] as const)("of %j", async (args, name) => {
    expect(await refused(args, 3)).toContain(name);
  });
});

describe("merge start says before it compares that it cannot", () => {
  const start = ["merge", "start", "node-b", "--yes"];

  beforeAll(async () => {
    await pair.a.query("create table public.other (id int primary key, here int)");
    await pair.b.query("create table public.other (id int primary key, there int)");
    await pair.a.query(`
      grant usage on schema steep_repl to steep_repl;
      grant select, insert, update, delete on all tables in schema steep_repl to steep_repl;
      grant select on public.orders to steep_repl`);
    await pair.a.createDatabase("peer");
    await pair.a.query(
      `create table public.orders (id bigint primary key, note text, "big ""n""" numeric);
       grant select on public.orders to steep_repl`,
      [],
      { database: "peer" },
    );
    await pair.a.query(`
      create server peer foreign data wrapper dblink_fdw
        options (host '127.0.0.1', port '${pair.a.port}', dbname 'peer');
      grant usage on foreign server peer to steep_repl;
      create user mapping for steep_repl server peer options (user 'steep_repl', password 'right')`);
  });

  test.each([
    [2, ["--strategy", "newest"], "unknown strategy"],
    [2, ["--local-only", "drop"], "local_only"],
    [2, ["--backlog", "keep"], "backlog"],
    [2, ["--last-modified-column", "note"], "needs strategy last-modified"],
    [3, ["--strategy", "last-modified", "--last-modified-column", "nix"], "no column nix"],
    [3, ["--tables", "public.nix"], "table public.nix does not exist"],
    [2, ["--tables", "nix"], "schema.table"],
    [3, ["--schemas", "nix"], "schema does not exist"],
    [2, ["--primary-keys", "{"], "json"],
    [3, ["--overlap-id", "overlap_x"], '"overlap_x" does not exist'],
    [2, ["--overlap-id", "overlap_x", "--schemas", "public"], "cannot be given with overlap_id"],
    [2, ["--overlap-id", "overlap_x", "--backlog", "discard"], "exclude each other"],
    [2, ["--prefer", "node-x"], 'node "node-x" is neither'],
    [2, ["--prefer", "node-b", "--strategy", "manual"], "exclude each other"],
    [3, ["--tables", "public.other"], "columns of table public.other differ"],
  ] as const)("%i %j", async (code, args, message) => {
    expect(await refused([...start, ...args], code)).toContain(message);
    expect(await pair.a.query("select operation from steep_repl.work_queue")).toEqual([]);
  });

  test("since rights are missing", async () => {
    const connection = `host=127.0.0.1 port=${pair.a.port} dbname=postgres user=steep_repl password=right`;
    const merge = ["merge", "start", "peer", "--tables", "public.orders", "--yes"];
    const said = await refused(merge, 3, connection);
    expect(said).toMatch(
      /permission denied to merge tables \(public\.orders \(INSERT, UPDATE\), peer: public\.orders \(INSERT, UPDATE\)\); hint: GRANT/,
    );
    expect(await pair.a.query("select operation from steep_repl.work_queue")).toEqual([]);
  });

  test("and asks as long as --timeout allows", async () => {
    const blocker = await pair.b.connect();
    await blocker.query("begin; lock table pg_catalog.pg_class in access exclusive mode");
    await refused([...start, "--timeout", "0.5"], 5).finally(() => blocker.query("rollback"));
  });
});

describe("a peer that cannot be reached is told with the reason", () => {
  beforeAll(async () => {
    await pair.a.query(`
      create server wrong foreign data wrapper dblink_fdw
        options (host '127.0.0.1', port '${pair.a.port}', dbname 'peer');
      create user mapping for public server wrong options (user 'steep_repl', password 'wrong');
      select steep_repl.register_node('no-host', 'N', 'nowhere.invalid', dbname => 'x');
      select steep_repl.register_node('no-port', 'N', '127.0.0.1', 1, dbname => 'x');
      select steep_repl.register_node('no-database', 'N', '127.0.0.1', ${pair.b.port}, dbname => 'nope');
      select steep_repl.register_node('no-password', 'N', foreign_server => 'wrong');
      select steep_repl.register_node('moved', 'N', '127.0.0.1', ${pair.b.port}, dbname => 'postgres', username => 'postgres')`);
  });

  const reasons = [
    ["no-host", "could not translate host name"],
    ["no-port", "Connection refused"],
    ["no-database", 'database "nope" does not exist'],
    ["no-password", "password authentication failed"],
  ] as const;
  const connecting = (
    peer: string,
  ): readonly (readonly [code: number, args: readonly string[]])[] => [
    [6, ["analyze-overlap", peer, "--tables", "public.orders"]],
    [6, ["overlap", "rows", peer, "public.orders"]],
    [6, ["merge", "start", peer, "--tables", "public.orders", "--yes"]],
    [6, ["schema", "compare", "node-a", peer]],
    [6, ["schema", "diff", "node-a", peer, "public.orders"]],
    [6, ["schema", "capture", peer]],
  ];

  test.each(reasons)("%s", async (peer, reason) => {
    for (const [code, args] of connecting(peer)) {
      const said = await refused(args, code);
      expect(said).toContain(reason);
      expect(said).toContain("; hint: Check host, port, database, user and password of the peer");
      expect(said).not.toContain("wrong");
    }
    const job = await cliHere(["overlap", "start", peer, "-c", pair.a.uri()]);
    expect(job).toMatchObject({ code: 3, stderr: expect.stringContaining(reason) });
    expect(job.stderr).toContain("; hint: Check host");
    const probed = await cliHere(["node", "status", peer, "--probe", "-c", pair.a.uri()]);
    expect(probed).toMatchObject({ code: 1, stdout: expect.stringContaining("offline") });
    expect(probed.stderr).toContain(`cannot connect to node "${peer}" (`);
    expect(probed.stderr).toContain(reason);
  });

  test("also by what follows a merge", async () => {
    const merge = ["merge", "start", "moved", "--tables", "public.orders", "--strategy", "manual"];
    await pair.a.query("insert into public.orders values (60, 'here', 1)");
    await pair.b.query("insert into public.orders values (60, 'there', 1)");
    expect(await cliHere([...merge, "--yes", "-c", pair.a.uri()])).toMatchObject({ code: 1 });
    const [left] = await pair.a.query<{ conflict_id: string; merge_id: string }>(
      "select conflict_id, merge_id from steep_repl.merge_conflicts",
    );
    await pair.a.query("select steep_repl.register_node('moved', port => 1)");
    const resolve = ["merge", "resolve", left?.conflict_id ?? "", "--choice", "local"];
    expect(await refused(resolve, 6)).toContain("Connection refused");
    const undo = ["merge", "undo", left?.merge_id ?? "", "--yes"];
    expect(await refused(undo, 6)).toContain("Connection refused");
  });
});

test("an undo is refused before it asks", async () => {
  await pair.a.query("insert into public.orders values (70, 'here', 1)");
  const merge = ["merge", "start", "node-b", "--tables", "public.orders", "--dry-run"];
  expect(await cliHere([...merge, "-c", pair.a.uri()])).toMatchObject({ code: 1 });
  const [dry] = await pair.a.query<{ merge_id: string }>(
    "select merge_id from steep_repl.merges where dry_run order by created_at desc limit 1",
  );
  const said = await refused(["merge", "undo", dry?.merge_id ?? "", "--yes"], 3);
  expect(said).toContain("cannot be undone (It was a dry run");

  await cliHere([...merge.slice(0, -1), "--yes", "-c", pair.a.uri()]);
  const [merged] = await pair.a.query<{ merge_id: string }>(
    "select merge_id from steep_repl.merges where not dry_run order by created_at desc limit 1",
  );
  const onBoth = (sql: string) => Promise.all([pair.a, pair.b].map((server) => server.query(sql)));
  await onBoth(
    "create rule r as on delete to public.orders do instead nothing; alter table public.orders enable always rule r",
  );
  try {
    const undo = ["merge", "undo", merged?.merge_id ?? "", "--yes"];
    expect(await refused(undo, 3)).toContain("tables to be merged have rules");
  } finally {
    await onBoth("drop rule r on public.orders");
  }
});
