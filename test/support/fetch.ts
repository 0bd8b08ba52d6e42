import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import type { ConnectOptions, PgNode } from "./node.ts";
import { freshPath, type SnapshotRow } from "./snapshots.ts";

export interface FetchOptions extends ConnectOptions {
  readonly path?: string;
  /** Further arguments as SQL, such as `parallel => 1`. */
  readonly args?: string;
}

/** Queue the fetch of a snapshot from a peer; returns its row as start_fetch answers it. */
export async function startFetch(
  server: PgNode,
  peer: string,
  snapshot: string,
  options: FetchOptions = {},
): Promise<SnapshotRow> {
  const args = options.args === undefined ? "" : `, ${options.args}`;
  const [row] = await server.query<SnapshotRow>(
    `select * from steep_repl.start_fetch($1, $2, $3${args})`,
    [peer, snapshot, options.path ?? freshPath(server)],
    options,
  );
  if (!row) throw new Error("start_fetch answered no row");
  return row;
}

/** The names of a snapshot's files and their bytes, but for the marker. */
export async function filesOf(path: string): Promise<Map<string, Buffer>> {
  const names = (await readdir(path)).filter((name) => name !== ".steep_repl").sort();
  return new Map(
    await Promise.all(names.map(async (name) => [name, await readFile(join(path, name))] as const)),
  );
}
