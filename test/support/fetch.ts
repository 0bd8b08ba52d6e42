import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, expect } from "vitest";
import { hostileNames } from "./hostile-names.ts";
import { Line } from "./line.ts";
import type { ConnectOptions, PgNode, Settings } from "./node.ts";
import { type Server, startServer } from "./server.ts";
import { endOf, freshPath, type SnapshotRow, takeSnapshot } from "./snapshots.ts";

export interface FetchOptions extends ConnectOptions {
  readonly path?: string;
  /** Further arguments as SQL, such as `parallel => 1`. */
  readonly args?: string;
}

export interface FetchRow extends SnapshotRow {
  readonly source_snapshot_id: string | null;
  readonly slot_name: string | null;
  readonly bytes_processed: string;
}

/** Queue the fetch of a snapshot from a peer; returns its row as start_fetch answers it. */
export async function startFetch(
  server: PgNode,
  peer: string,
  snapshot: string,
  options: FetchOptions = {},
): Promise<FetchRow> {
  const args = options.args === undefined ? "" : `, ${options.args}`;
  const [row] = await server.query<FetchRow>(
    `select * from steep_repl.start_fetch($1, $2, $3${args})`,
    [peer, snapshot, options.path ?? freshPath(server)],
    options,
  );
  if (!row) throw new Error("start_fetch answered no row");
  return row;
}

/** The same to its end, whatever that is. */
export async function runFetch(
  server: PgNode,
  peer: string,
  snapshot: string,
  options: FetchOptions = {},
): Promise<FetchRow> {
  return (await endOf(
    server,
    await startFetch(server, peer, snapshot, options),
    options,
  )) as FetchRow;
}

/** The names of a snapshot's files and their bytes, but for the marker. */
async function filesOf(path: string): Promise<Map<string, Buffer>> {
  const names = (await readdir(path)).filter((name) => name !== ".steep_repl").sort();
  return new Map(
    await Promise.all(names.map(async (name) => [name, await readFile(join(path, name))] as const)),
  );
}

/** Two directories hold the same files with the same bytes. */
export async function expectSameFiles(found: string, wanted: string): Promise<void> {
  const [here, there] = await Promise.all([filesOf(found), filesOf(wanted)]);
  expect([...here.keys()]).toEqual([...there.keys()]);
  const differing = [...here].filter(([name, bytes]) => !there.get(name)?.equals(bytes));
  expect(differing.map(([name]) => name)).toEqual([]);
}

/** Two servers: b has a snapshot, a fetches it. */
export interface FetchPair {
  readonly a: Server;
  readonly b: Server;
  /** a foreign server of a's, which goes through the proxy, for superusers and for the role */
  readonly peer: string;
  /** a connection string of the role's, straight to b */
  readonly conninfo: string;
  /** what stands between */
  readonly proxy: Line;
  /** of b, with some 8 MB in 24 tables and more */
  readonly source: SnapshotRow;
}

/** The role of both servers that is no superuser, and its password, which nothing may show. */
export const fetcher = "fetcher";
export const fetcherPassword = "hush hush";

const tables = hostileNames
  .map((name, i) => `create table "${name.replaceAll('"', '""')}" as select ${i} as x;`)
  .join("\n");
const rows = `
  do $do$ begin
    for i in 1 .. 16 loop
      execute format('create table t%s as select g as id, md5(g::text || %s) as v, md5(random()::text) as w from generate_series(1, 8000) g', i, i);
    end loop;
  end $do$;
  create table empty ();
  select lo_from_bytea(4711, decode(repeat('00ff', 100000), 'hex'))`;

/** Make both before the tests of a file, and destroy them afterwards. */
export function setFetchPair(
  name: string,
  give: (pair: FetchPair) => void,
  settings: Settings = {},
): void {
  let pair: FetchPair | undefined;
  beforeAll(async () => {
    const hba = [`host all ${fetcher} 127.0.0.1/32 scram-sha-256`];
    const [a, b] = await Promise.all([
      startServer({ name, settings }),
      startServer({ name: `${name}-b`, identity: "peer", hba }),
    ]);
    const proxy = await Line.before(b.port);
    for (const server of [a, b])
      await server.query(
        `create extension steep_repl cascade; create role ${fetcher} login password '${fetcherPassword}';
         grant usage on schema steep_repl to ${fetcher}; grant select, insert, update, delete on all tables in schema steep_repl to ${fetcher}`,
      );
    await a.query(
      `create server there foreign data wrapper dblink_fdw options (host '127.0.0.1', port '${proxy.port}', dbname 'postgres');
       create user mapping for postgres server there options (user 'postgres');
       create user mapping for ${fetcher} server there options (user '${fetcher}', password '${fetcherPassword}');
       grant usage on foreign server there to ${fetcher}`,
    );
    await b.query(`${tables}\n${rows}`);
    const source = await takeSnapshot(b);
    const conninfo = `host=127.0.0.1 port=${b.port} dbname=postgres user=${fetcher} password='${fetcherPassword}'`;
    pair = { a, b, peer: "there", conninfo, proxy, source };
    give(pair);
  });
  afterAll(async () => {
    await pair?.proxy.close();
    await pair?.a.destroy();
    await pair?.b.destroy();
  });
}
