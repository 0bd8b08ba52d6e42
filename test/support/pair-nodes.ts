import { afterAll, beforeAll, expect } from "vitest";
import type { ConnectOptions, Settings } from "./node.ts";
import { type Server, startServer } from "./server.ts";
import { waitUntil } from "./wait-until.ts";

/** What a node of a pair needs. */
export const pairSettings = {
  wal_level: "logical",
  track_commit_timestamp: "on",
  max_worker_processes: 24,
  max_prepared_transactions: 4,
  max_logical_replication_workers: 8,
  "steep_repl.poll_interval": "1s",
} as const;

const identities = { node_a: undefined, node_b: "peer", node_c: "third" } as const;
export type NodeName = keyof typeof identities;

/** Servers with the extension, each of which has the others as nodes. */
export async function startNodes<N extends NodeName>(
  names: readonly N[],
  { file, settings = {} }: { readonly file: string; readonly settings?: Settings },
): Promise<{ readonly [name in N]: Server }> {
  const servers = await Promise.all(
    names.map((name) => {
      const identity = identities[name];
      return startServer({
        name: `${file}-${name.replace("_", "-")}`,
        settings: { ...pairSettings, ...settings },
        ...(identity === undefined ? {} : { identity }),
      });
    }),
  );
  const nodes = Object.fromEntries(names.map((name, i) => [name, servers[i] as Server])) as {
    readonly [name in N]: Server;
  };
  for (const here of names) {
    await nodes[here].query("create extension steep_repl cascade");
    await nodes[here].configure({ "steep_repl.snapshot_directories": nodes[here].snapshotDir });
    for (const there of names.filter((name) => name !== here)) {
      await nodes[here].query(registering(there, nodes[there], "postgres"));
    }
  }
  return nodes;
}

/** Two nodes for the tests of a file, and what replicates there before those. */
export function setPairNodes(
  file: string,
  use: (a: Server, b: Server, before: readonly unknown[]) => void,
): void {
  let servers: readonly Server[] = [];
  beforeAll(async () => {
    const { node_a, node_b } = await startNodes(["node_a", "node_b"], { file });
    servers = [node_a, node_b];
    use(node_a, node_b, await Promise.all(servers.map(replicationObjects)));
  });
  afterAll(async () => {
    for (const server of servers) await server.destroy();
  });
}

/** What makes a server a node of another. */
export function registering(name: string, server: Server, database: string): string {
  return `create server if not exists to_${name} foreign data wrapper dblink_fdw
            options (host '127.0.0.1', port '${server.port}', dbname '${database}');
          create user mapping if not exists for current_user server to_${name} options (user 'postgres', password 'unused');
          select steep_repl.register_node('${name}', '${name}', foreign_server => 'to_${name}')`;
}

export type PairRow = {
  readonly pair_id: string;
  readonly operation_id: string;
  readonly status: string;
  readonly phase: string;
  readonly step: string | null;
  readonly error_message: string | null;
  readonly error_hint: string | null;
  readonly error_sqlstate: string | null;
  readonly warnings: readonly string[] | null;
  readonly tables: readonly string[] | null;
};

/** Queue a pair; its id. */
export async function startPair(server: Server, args: string): Promise<string> {
  const [row] = await server.query<{ id: string }>(
    `select pair_id as id from steep_repl.start_pair(${args})`,
  );
  return row?.id ?? "";
}

export async function pairRow(
  server: Server,
  id: string,
  options: ConnectOptions = {},
): Promise<PairRow> {
  const [row] = await server.query<PairRow>(
    "select * from steep_repl.pairs where pair_id = $1",
    [id],
    options,
  );
  if (row === undefined) throw new Error(`there is no pair ${id}`);
  return row;
}

/** How a pair ends. */
export async function endOfPair(
  server: Server,
  id: string,
  timeoutMs = 60_000,
  options: ConnectOptions = {},
): Promise<PairRow> {
  return waitUntil(
    () => pairRow(server, id, options),
    ({ status }) => !["pending", "running"].includes(status),
    `${id} is over`,
    { timeoutMs, intervalMs: 50 },
  );
}

export async function makePair(server: Server, args: string): Promise<PairRow> {
  return endOfPair(server, await startPair(server, args));
}

/** Nothing differs between the tables of two nodes, row by row, once each has what the other wrote. */
export async function expectEqual(
  a: Server,
  b: Server,
  tables: readonly string[],
  options: ConnectOptions = {},
): Promise<void> {
  const rows = (server: Server) =>
    Promise.all(
      tables.map(async (table) => {
        const [row] = await server.query<{ n: string; digest: string }>(
          `select count(*)::text as n, md5(coalesce(string_agg(md5(t::text), '' order by md5(t::text)), '')) as digest from ${table} t`,
          [],
          options,
        );
        return { table, ...row };
      }),
    );
  const found = await waitUntil(
    async () => ({ a: await rows(a), b: await rows(b) }),
    (both) => JSON.stringify(both.a) === JSON.stringify(both.b),
    "both nodes have the same rows",
  );
  expect(found.a).toEqual(found.b);
}

/** Both subscriptions are enabled, take what has no origin, and PostgreSQL has counted no conflict. */
export async function expectHealthy(...servers: readonly Server[]): Promise<void> {
  for (const server of servers) {
    expect(
      await server.query("select subenabled, suborigin from pg_subscription order by subname"),
    ).toEqual(
      Array.from({ length: servers.length - 1 }, () => ({ subenabled: true, suborigin: "none" })),
    );
    expect(
      await server.query(
        `select confl_insert_exists + confl_update_origin_differs + confl_update_exists
                + confl_update_missing + confl_delete_origin_differs + confl_delete_missing + confl_multiple_unique_conflicts as n
         from pg_stat_subscription_stats where subname like 'steep_%'`,
      ),
    ).toEqual(Array.from({ length: servers.length - 1 }, () => ({ n: "0" })));
  }
}

/** What the catalogs have of replication. */
export async function replicationObjects(server: Server): Promise<unknown> {
  const [row] = await server.query<{ found: unknown }>(
    `select json_build_object(
       'publications', array(select pubname::text from pg_publication order by 1),
       'subscriptions', array(select subname::text from pg_subscription order by 1),
       'slots', array(select slot_name::text from pg_replication_slots order by 1),
       'origins', array(select roname from pg_replication_origin order by 1)) as found`,
  );
  return row?.found;
}
