import { readFileSync } from "node:fs";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { peerSettings, scanSettings, valueSettings } from "../../../plv8/build/settings-sql.ts";
import { expectNoLeaks } from "../../support/leaks.ts";
import { endOfMerge, type MergeRow } from "../../support/merge.ts";
import type { Row } from "../../support/node.ts";
import { hasOldStrings } from "../../support/old-strings.ts";
import {
  categories,
  ofPeersOnly,
  ofSomeVersions,
  settings as others,
} from "../../support/other-settings.ts";
import { endOfOverlap } from "../../support/overlap.ts";
import { inProject } from "../../support/pg.ts";
import { type Server, startServer } from "../../support/server.ts";

let a: Server;
let b: Server;
const app = { database: "app" };

/** Values whose text, or whose reading, depends on settings. */
const table = `create table v (id int primary key, at timestamptz, span interval, f float8, raw bytea, n numeric, list text[], cash money, doc xml)`;
const rows = (from: number, to: number, n: number) => `insert into v
  select g, '2020-02-03 04:05:06.789+00'::timestamptz + g * interval '1 day', g * interval '1 month 2 days 3:04:05', 1.0 / g + 1e-9,
         decode(md5(g::text), 'hex'), g / 7.0 + ${n}, array['NULL', null, e'a\\\\b''c'], 12.34, '<a>1</a>'::xml
  from generate_series(${from}, ${to}) g`;

beforeAll(async () => {
  const settings = { max_worker_processes: 16, "steep_repl.poll_interval": 100 };
  [a, b] = await Promise.all([
    startServer({ name: "settings-a", settings }),
    startServer({ name: "settings-b", identity: "peer", settings }),
  ]);
  for (const server of [a, b]) {
    await server.createDatabase("app", { extension: server === a });
    await server.query("create role hostile superuser login");
    await server.query(table, [], app);
  }
});
afterAll(async () => {
  await a.destroy();
  await b.destroy();
});
afterEach(async () => {
  for (const server of [a, b])
    await server.query("alter database app reset all; alter role hostile reset all");
  await expectNoLeaks(a);
});

const peer = () => b.uri("app", "hostile");

/** What the session at the peer sets before anything else. */
async function firstSettings(): Promise<(readonly [string, string])[]> {
  const [row] = await a.query<{ sql: string }>(
    "select steep_repl._peer_first_settings() as sql",
    [],
    app,
  );
  const said = row?.sql ?? "";
  const plain = [...said.matchAll(/\bset (\w+) = ([^;]+)/g)];
  const called = [...said.matchAll(/set_config\('(\w+)', '([^']*)'/g)];
  return [...plain, ...called].map(([, name = "", value = ""]) => [
    name,
    value.replace(/^'(.*)'$/s, "$1"),
  ]);
}

const pinnedAtPeer = async () => [
  ...(await firstSettings()),
  ...valueSettings,
  ...scanSettings,
  ...peerSettings,
];

/** Settings of any session here that a worker has in its own way: bgworker-c/jobs/worker.c. */
function pinnedInWorkers(): string[] {
  const source = readFileSync(inProject("bgworker-c/jobs/worker.c"), "utf8");
  const list = source.slice(
    source.indexOf("pinned_settings[][2]"),
    source.indexOf("};", source.indexOf("pinned_settings[][2]")),
  );
  return [...list.matchAll(/\{"([^"]+)",/g)].map(([, name = ""]) => name.toLowerCase());
}

interface Setting extends Row {
  readonly name: string;
  readonly category: string;
  readonly vartype: string;
  readonly min_val: string | null;
  readonly max_val: string | null;
  readonly enumvals: readonly string[] | null;
}

/** All that a role or a database may set. */
const settable = (server: Server) =>
  server.query<Setting>(
    `select lower(name) as name, category, vartype, min_val, max_val, enumvals from pg_settings
     where context in ('user', 'superuser') order by name`,
    [],
    app,
  );

describe("what a role or a database may set", () => {
  test("is set in our own way at the peer, or is known not to matter", async () => {
    const pinned = new Set((await pinnedAtPeer()).map(([name]) => name));
    const known = (s: Setting) =>
      pinned.has(s.name) ||
      others[s.name] !== undefined ||
      ofSomeVersions[s.name] !== undefined ||
      categories[s.category] !== undefined;
    expect(
      (await settable(b)).filter((s) => !known(s)).map((s) => `${s.category}: ${s.name}`),
    ).toEqual([]);
  });

  test("is not listed as what does not matter without need", async () => {
    const pinned = new Set((await pinnedAtPeer()).map(([name]) => name));
    const all = await settable(b);
    const names = new Set(all.map((s) => s.name));
    expect(Object.keys(others).filter((name) => pinned.has(name) || !names.has(name))).toEqual([]);
    expect(Object.keys(ofSomeVersions).filter((name) => pinned.has(name))).toEqual([]);
    const used = new Set(all.map((s) => s.category));
    expect(Object.keys(categories).filter((category) => !used.has(category))).toEqual([]);
  });

  test("and is set at the peer is set in workers, or by our functions here", async () => {
    const here = new Set([
      ...pinnedInWorkers(),
      ...[...valueSettings, ...scanSettings].map(([name]) => name),
      // from steep_repl.lock_timeout
      "lock_timeout",
    ]);
    const missing = (await pinnedAtPeer()).map(([name]) => name).filter((name) => !here.has(name));
    expect(missing.filter((name) => ofPeersOnly[name] === undefined)).toEqual([]);
    expect(Object.keys(ofPeersOnly).filter((name) => !missing.includes(name))).toEqual([]);
  });
});

/** Another value than ours for each setting that we have a value for. */
async function hostileValues(): Promise<Map<string, string>> {
  const special: Readonly<Record<string, string>> = {
    search_path: "nowhere",
    timezone: "Asia/Tokyo",
    datestyle: "SQL, DMY",
    lc_monetary: "C.UTF-8",
    application_name: "somebody else",
    restrict_nonsystem_relation_kind: "",
    statement_timeout: "100",
    lock_timeout: "20",
    transaction_timeout: "150",
    idle_session_timeout: "60",
    idle_in_transaction_session_timeout: "20",
    gin_fuzzy_search_limit: "1",
    work_mem: "64",
  };
  const of = new Map((await settable(b)).map((s) => [s.name, s]));
  const values = new Map<string, string>();
  const oldStrings = await hasOldStrings(b);
  for (const [name, ours] of await pinnedAtPeer()) {
    if (name === "standard_conforming_strings" && !oldStrings) continue;
    const setting = of.get(name);
    if (setting === undefined) throw new Error(`${name} is no setting`);
    const other = special[name] ?? otherValue(setting, ours);
    values.set(name, other);
  }
  return values;
}

function otherValue({ name, vartype, min_val, enumvals }: Setting, ours: string): string {
  if (vartype === "bool") return ours === "on" ? "off" : "on";
  if (vartype === "enum") return enumvals?.find((v) => v !== ours) ?? "";
  if (vartype === "string") throw new Error(`${name} needs a value in this test`);
  return ours === min_val ? String(Number(min_val) + 1) : String(min_val);
}

const scopes = ["database app", "role hostile"] as const;

async function set(server: Server, scope: string, values: Iterable<[string, string]>) {
  const commands = [...values].map(
    ([name, value]) =>
      `alter ${scope} set ${name} = ${name === "search_path" ? value : `'${value.replaceAll("'", "''")}'`}`,
  );
  await server.query(commands.join("; "));
}

test.each(scopes)("what %s at the peer has set does not reach our session there", async (scope) => {
  const session = await a.connect(app);
  const shown = async () => {
    await session.query("begin");
    const { rows: answer } = await session.query(
      `select steep_repl._peer_json(steep_repl._peer_open($1), 'select lower(name) as name, setting from pg_settings
         where context in (''user'', ''superuser'')') as json`,
      [peer()],
    );
    await session.query("rollback");
    return new Map(
      (answer[0].json as { name: string; setting: string }[]).map((s) => [s.name, s.setting]),
    );
  };
  const ours = await shown();
  const hostile = await hostileValues();
  await set(b, scope, hostile);
  const now = await shown();
  await session.end();
  // a name may have quotes, which mean nothing
  const plain = (value: string | undefined) => value?.replaceAll('"', "");
  for (const name of hostile.keys())
    expect([name, plain(now.get(name))]).toEqual([name, ours.get(name)]);
});

/** Of those, what a session here may have set and compares all the same; its time-outs are its own. */
const ofSessions = new Set([...valueSettings, ...scanSettings].map(([name]) => name));

/** What does not matter by our lists, set as unlike the default as can be. */
const unusualOnes: Readonly<Record<string, string>> = {
  client_encoding: "LATIN1",
  "plpgsql.extra_errors": "all",
  "plpgsql.variable_conflict": "use_column",
  "plpgsql.check_asserts": "on",
  jit_above_cost: "0",
  enable_seqscan: "off",
  enable_indexscan: "off",
  enable_hashagg: "off",
  enable_hashjoin: "off",
  enable_nestloop: "off",
  from_collapse_limit: "1",
  join_collapse_limit: "1",
  client_min_messages: "error",
  lo_compat_privileges: "on",
  escape_string_warning: "off",
  check_function_bodies: "off",
  temp_buffers: "800kB",
  session_replication_role: "replica",
  synchronous_commit: "off",
  default_toast_compression: "pglz",
  lc_numeric: "C",
  default_text_search_config: "simple",
  constraint_exclusion: "on",
};

/** Those of them that this version has. */
async function unusual(): Promise<[string, string][]> {
  const names = new Set((await settable(a)).map((s) => s.name));
  return Object.entries(unusualOnes).filter(([name]) => names.has(name) || name.includes("."));
}

test.each(scopes)(
  "with hostile settings of %s on both sides, rows are compared and merged",
  async (scope) => {
    await a.query(`truncate v; ${rows(1, 300, 0)}`, [], app);
    await b.query(
      `truncate v; ${rows(6, 300, 0)}; ${rows(301, 310, 0)}; update v set n = 0, list = null where id <= 20`,
      [],
      app,
    );
    const caller = await a.connect({ ...app, user: "hostile" });
    const hostile = new Map([...(await hostileValues()), ...(await unusual())]);
    for (const server of [a, b]) await set(server, scope, hostile);
    const call = async <T extends Row>(sql: string) =>
      (await caller.query<T>(sql, [peer()])).rows[0];

    const overlap = await call<{ operation_id: string }>(
      "select operation_id from steep_repl.start_overlap($1, '{public.v}')",
    );
    const merge = async () => {
      const row = await call<MergeRow>("select * from steep_repl.start_merge($1, '{public.v}')");
      if (!row) throw new Error("no merge");
      await caller.query("select steep_repl.wait_merge($1)", [row.merge_id]);
      return row;
    };
    await caller.query("select steep_repl.wait_operation($1)", [overlap?.operation_id]);
    const first = await merge();
    const second = await merge();
    await caller.end();
    for (const server of [a, b])
      await server.query("alter database app reset all; alter role hostile reset all");

    expect(await endOfOverlap(a, overlap?.operation_id ?? "", app)).toMatchObject({
      ...{
        status: "complete",
        error_message: null,
        local_only_count: "5",
        remote_only_count: "10",
      },
      ...{ match_count: "280", conflict_count: "15" },
    });
    expect(await endOfMerge(a, first, app)).toMatchObject({
      ...{ status: "complete", error_message: null, rows_merged: "30", rows_left: "0" },
    });
    expect(await endOfMerge(a, second, app)).toMatchObject({
      ...{ status: "complete", match_count: "310", conflict_count: "0", rows_merged: "0" },
    });
    const digest = "select md5(string_agg(v::text, e'\\n' order by id)) as digest from v";
    expect(await a.query(digest, [], app)).toEqual(await b.query(digest, [], app));
  },
);

test("in a session with hostile settings, rows are compared as in any other", async () => {
  await a.query(`truncate v; ${rows(1, 30, 0)}`, [], app);
  await b.query(`truncate v; ${rows(3, 31, 0)}; update v set list = null where id = 7`, [], app);
  const session = await a.connect({ ...app, user: "hostile" });
  const values = [...(await hostileValues())].filter(([name]) => ofSessions.has(name));
  for (const [name, value] of [...values, ...(await unusual())])
    await session.query("select set_config($1, $2, false)", [name, value]);
  const { rows: counts } = await session.query(
    `select local_only_count::int, remote_only_count::int, match_count::int, conflict_count::int
     from steep_repl.analyze_overlap($1, '{public.v}')`,
    [peer()],
  );
  await session.end();
  expect(counts).toEqual([
    { local_only_count: 2, remote_only_count: 1, match_count: 27, conflict_count: 1 },
  ]);
});

test("a peer's role that has no foreign keys checked, and may not have it otherwise, merges nothing", async () => {
  await b.query("create role limited login");
  await b.query("grant select, insert, update, delete on v to limited", [], app);
  const merge = async () => {
    const [row] = await a.query<MergeRow>(
      "select * from steep_repl.start_merge($1, '{public.v}')",
      [b.uri("app", "limited")],
      app,
    );
    return endOfMerge(a, row as MergeRow, app);
  };
  await b.query("alter role limited set session_replication_role = replica");
  expect(await merge()).toMatchObject({
    status: "failed",
    error_sqlstate: "42501",
    error_message: expect.stringMatching(/^peer: session_replication_role is set to replica/),
  });
  await b.query("alter role limited reset session_replication_role");
  expect(await merge()).toMatchObject({ status: "complete", error_message: null });
  await b.query("drop owned by limited", [], app);
  await b.query("drop role limited");
});
