import { expect } from "vitest";
import { gapOf, type Step } from "./ledger-path.ts";
import type { LedgerTable } from "./ledger-tables.ts";
import { type Image, imagesOf, type MergeRow } from "./merge.ts";
import type { Server } from "./server.ts";

export type Side = "local" | "remote";
export const sides = ["local", "remote"] as const;

/** A row of one side: its table, what its key is whatever its spelling, and its side. */
export const rowName = (side: Side, table: string, ident: string) => `${side} ${table} ${ident}`;

/** The same row of the other side. */
export const otherRow = (row: string) =>
  row.startsWith("local ") ? row.replace("local", "remote") : row.replace("remote", "local");

/** Who has written each row last, by the names of rows; and what it is then. */
export type State = ReadonlyMap<string, { readonly token: string; readonly image: Image }>;

/** What a merge or an undo wrote, in the order of its doing. */
export interface Written extends Step {
  readonly row: string;
  readonly side: Side;
}

export async function stateOf(
  servers: readonly Server[],
  tables: readonly LedgerTable[],
): Promise<State> {
  const state = new Map<string, { token: string; image: Image }>();
  for (const [at, side] of sides.entries()) {
    const found = await Promise.all(
      tables.map(({ name, kind }) =>
        imagesOf(servers[at] as Server, [`public.${name} t`], {
          columns: `t.*, ${kind.ident((column) => `t.${column}`)} as ident`,
        }),
      ),
    );
    for (const [t, [rows = []]] of found.entries())
      for (const { ident, ...image } of rows)
        state.set(rowName(side, tables[t]?.name ?? "", ident ?? ""), {
          token: image.token ?? "",
          image,
        });
  }
  return state;
}

/** By the names of the rows, those of the key of an image. */
const identOf = ({ kind }: LedgerTable, image: string) =>
  kind.ident((column) => `(${image} ->> '${column}')`);

export async function auditOf(
  server: Server,
  merge: MergeRow,
  tables: readonly LedgerTable[],
): Promise<Written[]> {
  const rows = await server.query<{
    name: string;
    ident: string;
    side: Side;
    old: string | null;
    new: string | null;
  }>(
    `${tables
      .map(
        (
          table,
        ) => `select id, '${table.name}' as name, ${identOf(table, "key")} as ident, split_part(action, '_', 2) as side,
           case when action like '%_local' then local_row else remote_row end ->> 'token' as old, result_row ->> 'token' as new
         from steep_repl.merge_audit_log where merge_id = $1 and table_name = 'public.${table.name}'`,
      )
      .join(" union all ")} order by id`,
    [merge.merge_id],
  );
  return rows.map((r) => ({
    row: rowName(r.side, r.name, r.ident),
    side: r.side,
    old: r.old,
    new: r.new,
  }));
}

/** Rows that were left, whatever their side, with the reason. */
export async function leftOf(
  server: Server,
  merge: MergeRow,
  tables: readonly LedgerTable[],
): Promise<Map<string, string>> {
  const rows = await server.query<{ name: string; ident: string; reason: string }>(
    tables
      .map(
        (table) => `select '${table.name}' as name, ${identOf(table, "l.key")} as ident, l.reason
         from steep_repl.merge_rows_left($1) l where l.table_name = 'public.${table.name}'`,
      )
      .join(" union all "),
    [merge.merge_id],
  );
  return new Map(rows.map((r) => [`${r.name} ${r.ident}`, r.reason]));
}

export async function ledgerOf(servers: readonly Server[]): Promise<Written[]> {
  const found = await Promise.all(
    sides.map(async (side, at) => {
      const rows = await (servers[at] as Server).query<{
        name: string;
        ident: string;
        old: string | null;
        new: string | null;
      }>("select name, ident, old, new from public.ledger order by n");
      return rows.map((r) => ({
        row: rowName(side, r.name, r.ident),
        side,
        old: r.old,
        new: r.new,
      }));
    }),
  );
  return found.flat();
}

export const tokenOf = (state: State, row: string) => state.get(row)?.token ?? null;

export function byRow(written: readonly Written[]): Map<string, Written[]> {
  const rows = new Map<string, Written[]>();
  for (const step of written) rows.set(step.row, [...(rows.get(step.row) ?? []), step]);
  return rows;
}

/**
 * Users, merges and subscriptions have written each row, one after the other: nothing was lost, and nothing written that nobody says.
 * unknown: rows of which that cannot be said.
 */
export function expectPaths(
  written: readonly Written[],
  before: State,
  after: State,
  says: string,
  unknown: ReadonlySet<string>,
): void {
  const steps = byRow(written);
  const known = [...new Set([...steps.keys(), ...before.keys(), ...after.keys()])].filter(
    (row) => !unknown.has(row),
  );
  const gaps = known.flatMap((row) => {
    const gap = gapOf(steps.get(row) ?? [], tokenOf(before, row), tokenOf(after, row));
    return gap === null
      ? []
      : [
          {
            row,
            gap,
            from: tokenOf(before, row),
            to: tokenOf(after, row),
            steps: steps.get(row) ?? [],
          },
        ];
  });
  expect(gaps, says).toEqual([]);
}

/** What one token stands for is one row, but for how its key is spelled. */
export function expectWholeRows(
  states: readonly State[],
  tables: readonly LedgerTable[],
  says: string,
): void {
  const images = new Map<string, string>();
  const broken: unknown[] = [];
  for (const state of states)
    for (const [row, { token, image }] of state) {
      const [, name = ""] = row.split(" ");
      const key = tables.find((t) => t.name === name)?.kind.key ?? [];
      const values = JSON.stringify(
        Object.entries(image).filter(([column]) => !key.includes(column)),
      );
      const known = images.get(`${name} ${token}`) ?? values;
      if (known !== values) broken.push({ row, token, known, values });
      images.set(`${name} ${token}`, known);
    }
  expect(broken, says).toEqual([]);
}
