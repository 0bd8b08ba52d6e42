import type { ConnectOptions, PgNode, Row } from "./node.ts";
import { waitUntil } from "./wait-until.ts";

/** bigint columns are text, as node-postgres gives them. */
export interface MergeRow extends Row {
  readonly merge_id: string;
  readonly operation_id: string;
  readonly peer: string;
  readonly status: string;
  readonly phase: string;
  readonly tables: readonly string[] | null;
  readonly local_only_count: string | null;
  readonly remote_only_count: string | null;
  readonly match_count: string | null;
  readonly conflict_count: string | null;
  readonly unsettled_count: string | null;
  readonly rows_merged: string;
  readonly rows_left: string;
  readonly error_message: string | null;
  readonly error_sqlstate: string | null;
  readonly error_hint: string | null;
  readonly warnings: readonly string[] | null;
}

export interface MergeOptions extends ConnectOptions {
  readonly tables?: readonly string[] | null;
  /** Further arguments as SQL, such as `strategy => 'manual'`. */
  readonly args?: string;
}

/** Queue a merge; its row at once. */
export async function startMerge(
  server: PgNode,
  peer: string | null,
  { tables = null, args, ...options }: MergeOptions = {},
): Promise<MergeRow> {
  const [row] = await server.query<MergeRow>(
    `select * from steep_repl.start_merge($1, $2${args === undefined ? "" : `, ${args}`})`,
    [peer, tables],
    options,
  );
  if (!row) throw new Error("start_merge answered no row");
  return row;
}

/** The row of a merge once it is over. */
export async function endOfMerge(
  server: PgNode,
  merge: MergeRow,
  { database }: ConnectOptions = {},
  timeoutMs = 50_000,
): Promise<MergeRow> {
  const row = await waitUntil(
    () => mergeRow(server, merge, database),
    (r) => r !== undefined && !["pending", "running"].includes(r.status),
    `${merge.merge_id} is over`,
    { timeoutMs },
  );
  if (!row) throw new Error(`the row of ${merge.merge_id} is gone`);
  return row;
}

/** The row of a merge now. */
export async function mergeRow(
  server: PgNode,
  merge: MergeRow,
  database?: string,
): Promise<MergeRow | undefined> {
  const options = database === undefined ? {} : { database };
  const rows = await server.query<MergeRow>(
    "select * from steep_repl.merges where merge_id = $1",
    [merge.merge_id],
    options,
  );
  return rows[0];
}

/** Merge, and wait for the end. */
export async function runMerge(
  server: PgNode,
  peer: string,
  options: MergeOptions = {},
): Promise<MergeRow> {
  return endOfMerge(server, await startMerge(server, peer, options), options);
}

/** What a merge found: [local only, remote only, match, conflict, unsettled]. */
export function found(row: MergeRow): number[] {
  return [
    row.local_only_count,
    row.remote_only_count,
    row.match_count,
    row.conflict_count,
    row.unsettled_count,
  ].map(Number);
}

/** An object of column to its text, NULL for NULL. */
export type Image = Readonly<Record<string, string | null>>;

export interface AuditRow extends Row {
  readonly table_name: string;
  readonly key: Image;
  readonly category: string;
  readonly action: string;
  readonly local_row: Image | null;
  readonly remote_row: Image | null;
  readonly result_row: Image | null;
}

/** What a merge wrote down, in the order of its doing. */
export function auditOf(
  server: PgNode,
  merge: MergeRow,
  options: ConnectOptions = {},
): Promise<AuditRow[]> {
  return server.query<AuditRow>(
    `select table_name, key, category, action, local_row, remote_row, result_row
     from steep_repl.merge_audit_log where merge_id = $1 order by id`,
    [merge.merge_id],
    options,
  );
}

/** How often a merge did what. */
export function actions(audit: readonly AuditRow[]): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const { action } of audit) counts[action] = (counts[action] ?? 0) + 1;
  return counts;
}

/** All rows of FROM items as the texts of their types' output functions, which nothing of ours has touched. */
export async function imagesOf(
  server: PgNode,
  items: readonly string[],
  { columns = "*", ...options }: ConnectOptions & { readonly columns?: string } = {},
): Promise<Image[][]> {
  const session = await server.connect(options);
  try {
    await session.query(
      "set timezone = 'UTC'; set datestyle = 'ISO, YMD'; set search_path = pg_catalog; set lc_monetary = 'C'",
    );
    const results: unknown = await session.query({
      text: items.map((item) => `select ${columns} from ${item}`).join(";"),
      types: { getTypeParser: () => (value: string) => value },
    });
    return [results].flat().map((result) => (result as { rows: Image[] }).rows.map(byName));
  } finally {
    await session.end();
  }
}

/** An image with its members in the order of their names. */
export function byName<T extends Image | null>(image: T): T {
  return image && (Object.fromEntries(Object.entries(image).sort()) as T);
}

/** Images in an order of their own. */
export function sorted<T>(images: readonly T[]): T[] {
  return images
    .map((image) => [JSON.stringify(image), image] as const)
    .sort(([one], [two]) => (one < two ? -1 : one > two ? 1 : 0))
    .map(([, image]) => image);
}
