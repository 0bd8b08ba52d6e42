import { readFile } from "node:fs/promises";
import { join } from "node:path";
import type { Client } from "pg";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { bin, inProject, run } from "../../support/pg.ts";
import { type Server, startServer } from "../../support/server.ts";
import { schemaOf, takeSnapshot } from "../../support/snapshots.ts";
import { createTestModule } from "../../support/test-module.ts";

/* An archive's entries as statements, beside what stock pg_restore makes of them. */
const databases = ["kinds", "objects", "shop"] as const;
const sections = ["pre-data", "data", "post-data"] as const;
type Section = (typeof sections)[number];

interface ScriptOptions {
  readonly noOwner?: boolean;
  readonly noPrivileges?: boolean;
  readonly sections?: readonly Section[];
  /** Names as SQL writes them, with their schema. */
  readonly tables?: readonly string[];
}

let server: Server;
/** In the database that the test restores. */
let session: Client | undefined;
/** The directory of each database's snapshot. */
const snapshots = new Map<string, string>();

beforeAll(async () => {
  const settings = { allow_in_place_tablespaces: true, max_worker_processes: 16 };
  server = await startServer({ name: "toc-script", settings });
  await server.query(
    `create role objects_owner; create role objects_reader;
     create role kinds_reader; create role "kinds ""owner 🐘"`,
  );
  await server.query(`create tablespace "kinds ts" location ''`);
  for (const database of databases) {
    await server.createDatabase(database, { extension: true });
    await createTestModule(server, database);
    const fixture = inProject(`test/fixtures/${database}.sql`);
    await run(bin("psql"), ["-Xqv", "ON_ERROR_STOP=1", "-f", fixture, server.uri(database)]);
    snapshots.set(database, (await takeSnapshot(server, { database })).storage_path);
  }
});
afterAll(() => server.destroy());
afterEach(async () => {
  await session?.end();
  session = undefined;
  await server.query("drop database if exists restored");
});

function snapshotOf(database: string): string {
  const path = snapshots.get(database);
  if (path === undefined) throw new Error(`${database} has no snapshot`);
  return path;
}

async function script(database: string, options: ScriptOptions = {}): Promise<string[]> {
  const toc = await readFile(join(snapshotOf(database), "toc.dat"));
  const rows = await server.query<{ sql: string }>(
    "select * from test_module.toc_script($1, $2, $3, $4, $5) as sql",
    [
      toc,
      options.noOwner ?? false,
      options.noPrivileges ?? false,
      options.sections ?? sections,
      options.tables ?? [],
    ],
    { database },
  );
  return rows.map((row) => row.sql);
}

/** Lines in no order, without comments and the defaults that are set where they change or always. */
function lines(sql: string): string[] {
  return sql
    .split("\n")
    .filter((line) => !/^\s*(--.*)?$|^SET default_table|^\\(un)?restrict/.test(line))
    .sort();
}

/** What pg_restore runs, without its own settings at the beginning. */
async function pgRestoreScript(database: string, args: readonly string[]): Promise<string> {
  const { stdout } = await run(bin("pg_restore"), ["-f-", ...args, snapshotOf(database)]);
  return stdout.replace(/^[\s\S]*?\nSET row_security = off;\n/, "");
}

describe.each(databases)("statements of %s are pg_restore's", (database) => {
  test.each([
    ["all", [], {}],
    ["without owners", ["--no-owner"], { noOwner: true }],
    ["without privileges", ["--no-privileges"], { noPrivileges: true }],
    ["pre-data", ["--section=pre-data"], { sections: ["pre-data"] }],
    ["post-data", ["--section=post-data"], { sections: ["post-data"] }],
  ] as const)("%s", async (_, args, options) => {
    const wanted: readonly Section[] = ["pre-data", "post-data"];
    const ours = await script(database, { sections: wanted, ...options });
    const both = wanted.map((section) => `--section=${section}`);
    const theirs = await pgRestoreScript(
      database,
      "sections" in options ? args : [...args, ...both],
    );
    expect(lines(ours.join("\n"))).toEqual(lines(theirs));
  });
});

/** Settings that pg_dump's text relies on, with a tablespace that no statement may fall back on. */
const settings = `set search_path = ''; set check_function_bodies = off; set xmloption = content;
  set client_min_messages = warning; set default_tablespace = "kinds ts"`;

async function runStatements(session: Client, statements: readonly string[]): Promise<void> {
  for (const sql of statements) {
    await session.query(settings);
    try {
      await session.query(sql);
    } catch (error) {
      throw new Error(`${(error as Error).message} in:\n${sql}`);
    }
  }
}

async function loadData(database: string, target: string): Promise<void> {
  const args = ["--exit-on-error", "--data-only", "--disable-triggers"];
  await run(bin("pg_restore"), [...args, "-d", server.uri(target), snapshotOf(database)]);
}

/** Another database like this one, and a session in it. */
async function restored(database: string): Promise<Client> {
  await server.createDatabase("restored", { template: "template0" });
  session = await server.connect({ database: "restored" });
  const statements = await script(database);
  const isCopy = (sql: string) => sql.startsWith("COPY ");
  const data = statements.findIndex(isCopy);
  await runStatements(session, statements.slice(0, data));
  await loadData(database, "restored");
  await runStatements(
    session,
    statements.slice(data).filter((sql) => !isCopy(sql)),
  );
  return session;
}

test.each(databases)("the statements make a database with the schema of %s", async (database) => {
  await restored(database);
  expect(await schemaOf(server, "restored")).toEqual(await schemaOf(server, database));
});

/** Tables to drop and to make again; nothing else may refer to them but views that are named, too. */
const choices: readonly (readonly [(typeof databases)[number], string, readonly string[]])[] = [
  [
    "kinds",
    "all that refers to one another",
    [
      ...["kinds.parts", "kinds.leaf", "kinds.in_ts", "kinds.mv_ts"],
      ...["kinds.parent", "kinds.row_of_parent", "kinds.columns", "kinds.on_columns"],
    ],
  ],
  ["kinds", "keys", ["kinds.keyed", "kinds.by_key", "kinds.mv_by_key"]],
  ["kinds", "a free sequence", ["kinds.uses_free", "kinds.free"]],
  ["kinds", "odd names", ['"od""d 🐘"."ta\nble"', '"od""d 🐘"."vi;ew"']],
  ["kinds", "names that begin with others", ['kinds."a b"', "kinds.a"]],
  ["kinds", "a foreign table and a method", ["kinds.remote", "kinds.am", "kinds.mv_am"]],
  ["objects", "partitions, one of them foreign", ["app.measures"]],
  ["objects", "a cycle of foreign keys", ["app.circle_a", "app.circle_b"]],
  ["objects", "constraints", ["app.constrained", "app.parent"]],
  [
    "shop",
    "partitions in two levels",
    [
      ...["shop.customers", "shop.categories", "shop.products", "shop.price_history"],
      ...["shop.orders", "shop.order_items", "shop.open_orders", "shop.revenue"],
      "shop.revenue_unfilled",
    ],
  ],
];

/** A schema without what is no table's but goes with tables that are dropped. */
async function comparable(database: string): Promise<readonly string[]> {
  return (await schemaOf(server, database))
    .filter((entry) => !/; Type: PUBLICATION|^counts_mv/.test(entry))
    .map((entry) => entry.replace(/^SET default_table.*\n/gm, "").trimEnd());
}

const kinds = new Map([
  ["r", "table"],
  ["p", "table"],
  ["f", "foreign table"],
  ["v", "view"],
  ["m", "materialized view"],
  ["S", "sequence"],
]);

/** Drop relations that are still there, with what depends on them. */
async function drop(session: Client, relations: readonly string[]): Promise<void> {
  await session.query("set client_min_messages = warning");
  for (const name of relations) {
    const { rows } = await session.query<{ relkind: string }>(
      "select relkind from pg_class where oid = to_regclass($1)",
      [name],
    );
    const kind = kinds.get(rows[0]?.relkind ?? "");
    if (kind) await session.query(`drop ${kind} ${name} cascade`);
  }
}

/** What would give rights to new tables, which the archive gives them anyway. */
const noDefaultPrivileges = {
  kinds: "alter default privileges in schema kinds revoke select on tables from kinds_reader",
  objects: "alter default privileges in schema app revoke select on tables from objects_reader",
  shop: "",
} as const;

test.each(choices)(
  "%s: what belongs to chosen tables comes back: %s",
  async (database, _, tables) => {
    const session = await restored(database);
    await session.query(noDefaultPrivileges[database]);
    const before = await comparable("restored");
    await drop(session, tables);
    expect(await comparable("restored")).not.toEqual(before);

    const statements = await script(database, { tables, sections: ["pre-data", "post-data"] });
    await runStatements(session, statements);
    expect(await comparable("restored")).toEqual(before);
  },
);

const copied = (statements: readonly string[]) =>
  statements.map((sql) => /^COPY (\S+)|setval\('([^']+)'/.exec(sql)?.slice(1).join("")).sort();

test("data is that of chosen tables, their partitions and their sequences", async () => {
  const options = { sections: ["data"], tables: ["kinds.parts", "kinds.columns"] } as const;
  expect(copied(await script("kinds", options))).toEqual([
    "kinds.columns",
    "kinds.columns_a_seq",
    "kinds.columns_e_seq",
    "kinds.columns_other",
    "kinds.parts_1",
    "kinds.parts_21",
    "kinds.parts_22",
  ]);
});

test("a partition alone comes without what ties it to its parent", async () => {
  const statements = (await script("kinds", { tables: ["kinds.parts_1"] })).join("\n");
  expect(statements).toContain("ADD CONSTRAINT parts_1_pkey");
  expect(statements).not.toMatch(/ATTACH PARTITION|TRIGGER/);
});

test("a foreign key needs both of its tables", async () => {
  const both = await script("objects", { tables: ["app.parent", "app.constrained"] });
  const one = await script("objects", { tables: ["app.constrained"] });
  expect(both.join("\n")).toContain("REFERENCES app.parent(id)");
  expect(one.join("\n")).not.toContain("REFERENCES app.parent(id)");
  expect(one.join("\n")).toContain("REFERENCES app.constrained(id)");
});

test("a table that the archive has not is named", async () => {
  await expect(
    script("shop", { tables: ["shop.orders", 'shop."No Table"'] }),
  ).rejects.toMatchObject({
    code: "42P01",
    message: 'archive has no table shop."No Table"',
  });
});

test("rights come after everything that needs none, then event triggers and refreshes", async () => {
  const order = (await script("kinds", { sections: ["pre-data", "post-data"] })).map(
    (sql) =>
      /^(GRANT|REVOKE|ALTER DEFAULT PRIVILEGES|CREATE EVENT TRIGGER|COMMENT ON EVENT TRIGGER|REFRESH)/.exec(
        sql,
      )?.[1],
  );
  const first = (...kinds: readonly string[]) =>
    order.findIndex((kind) => kinds.includes(kind ?? ""));
  const rights = first("GRANT", "REVOKE", "ALTER DEFAULT PRIVILEGES");
  const last = first("CREATE EVENT TRIGGER", "COMMENT ON EVENT TRIGGER", "REFRESH");
  expect(rights).toBeGreaterThan(0);
  expect(last).toBeGreaterThan(rights);
  expect(order.slice(rights).filter((kind) => kind === undefined)).toEqual([]);
});

test("text that is not in the database's encoding is refused, and where it stands is told", async () => {
  const toc = await readFile(join(snapshotOf("kinds"), "toc.dat"));
  toc[toc.indexOf('"c 🐘"') + 3] = 0xff;
  await expect(
    server.query("select test_module.toc_script($1, false, false, '{pre-data}', '{}')", [toc], {
      database: "kinds",
    }),
  ).rejects.toMatchObject({
    code: "22021",
    where: expect.stringMatching(/entry \d+ of the archive's table of contents: TABLE "ta\nble"/),
  });
});
