import type { Client } from "pg";
import { expect } from "vitest";
import type { ConnectOptions, Row } from "./node.ts";
import type { Server } from "./server.ts";
import { openConnections } from "./sessions.ts";

/** A node that has no steep_repl, and may be of an older version. */
export type PlainNode = Pick<Server, "connect" | "query">;

export interface SchemaStage {
  readonly server: Server;
  readonly peer: PlainNode;
}

const app = { database: "app" };

export interface Difference extends Row {
  readonly object_type: string;
  readonly object_name: string;
  readonly local_definition: string | null;
  readonly peer_definition: string | null;
  readonly status: string;
  readonly suggested_sql: string | null;
}

const fresh = "drop schema if exists s, s2 cascade; create schema s; set search_path = s;";

/** Empty schema s on both sides, then statements: on both, here, at the peer. */
export async function setTables(
  { server, peer }: SchemaStage,
  both: string,
  here = "",
  there = "",
): Promise<void> {
  await Promise.all([
    runPlainly(server, `${fresh} ${both}; ${here}`),
    runPlainly(peer, `${fresh} ${both}; ${there}`),
  ]);
}

/** Sessions that are kept, of each node one to work in and one to ask in: the latter has JavaScript loaded. */
const kept = { work: new WeakMap<PlainNode, Promise<Client>>(), ask: new WeakMap() };

function session(node: PlainNode, what: keyof typeof kept): Promise<Client> {
  const known = kept[what].get(node) ?? node.connect(app);
  kept[what].set(node, known);
  return known;
}

/** Run statements in which a backslash is one, whatever the database has set. */
export async function runPlainly(node: PlainNode, ...statements: readonly string[]): Promise<void> {
  const client = await session(node, "work");
  await client.query("discard all");
  await client.query("set standard_conforming_strings = on");
  for (const sql of statements) {
    await client.query(sql).catch((error: Error) => {
      throw new Error(`${error.message}: ${sql}`);
    });
  }
}

/** Run a query and see that it leaves no connection to a peer. */
export async function queryAndClose<R extends Row>(
  server: Server,
  sql: string,
  params: readonly unknown[] = [],
  options?: ConnectOptions,
): Promise<R[]> {
  const client = await (options === undefined ? session(server, "ask") : server.connect(options));
  try {
    return (await client.query<R>(sql, [...params])).rows;
  } finally {
    expect(await openConnections(client)).toBe(0);
    if (options !== undefined) await client.end();
  }
}

/** Status by schema and table. */
export async function statuses(
  { server }: SchemaStage,
  peer = "b",
): Promise<Record<string, string>> {
  const rows = await queryAndClose<{ name: string; status: string }>(
    server,
    "select schema_name || '.' || table_name as name, status from steep_repl.compare_fingerprints('a', $1)",
    [peer],
  );
  return Object.fromEntries(rows.map((row) => [row.name, row.status]));
}

/** Status by table, of what is in schema s. */
export async function compare(
  { server }: SchemaStage,
  peer = "b",
): Promise<Record<string, string>> {
  const rows = await queryAndClose<{ table_name: string; status: string }>(
    server,
    "select * from steep_repl.compare_fingerprints('a', $1) where schema_name = 's'",
    [peer],
  );
  return Object.fromEntries(rows.map((row) => [row.table_name, row.status]));
}

export function diff({ server }: SchemaStage, table = "s.t", peer = "b"): Promise<Difference[]> {
  return queryAndClose<Difference>(server, "select * from steep_repl.schema_diff('a', $2, $1)", [
    table,
    peer,
  ]);
}

/** Run all suggestions at the peer, one after the other. */
export async function mend({ peer }: SchemaStage, rows: readonly Difference[]): Promise<void> {
  await runPlainly(peer, ...rows.flatMap((row) => row.suggested_sql ?? []));
}

/** `type name status`, for short expectations. */
export const summary = (rows: readonly Difference[]): string[] =>
  rows.map((row) => `${row.object_type} ${row.object_name} ${row.status}`);
