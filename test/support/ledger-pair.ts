import { makeOriginApart } from "./apart.ts";
import type { Side, Written } from "./ledger-case.ts";
import { rowName, sides } from "./ledger-case.ts";
import type { LedgerRow, LedgerTable } from "./ledger-tables.ts";
import type { Server } from "./server.ts";
import { waitUntil } from "./wait-until.ts";

const origins = ["create", "drop", "session_setup", "session_reset", "xact_setup"];

/** Whose users write a row, of two nodes that replicate to each other; null: nobody's. Else each would overwrite what the other wrote. */
export const ownerOf = (i: number): Side | null =>
  ({ 0: "local" as const, 3: "remote" as const })[i % 6] ?? null;

/** Rows that users may insert again are not on the other side only: replication would not get past that. */
export function ownedRows([local, remote]: readonly [LedgerRow[], LedgerRow[]]): [
  LedgerRow[],
  LedgerRow[],
] {
  const has = (rows: LedgerRow[], i: number) => rows.some((row) => row.i === i);
  return [
    local.filter(({ i }) => ownerOf(i) !== "remote" || has(remote, i)),
    remote.filter(({ i }) => ownerOf(i) !== "local" || has(local, i)),
  ];
}

/** The replication between the two servers of a ledger. */
export class LedgerPair {
  readonly #servers: readonly [Server, Server];

  constructor(servers: readonly [Server, Server]) {
    this.#servers = servers;
  }

  async prepare(): Promise<void> {
    for (const server of this.#servers)
      await server.query(
        `create table public.marker (id int generated always as identity primary key);
         create table public.replicated (n bigint generated always as identity primary key, name text, ident text, old text, new text);
         ${makeOriginApart};
         grant execute on function ${origins.map((f) => `pg_replication_origin_${f}`).join(", ")} to merger`,
      );
    const [a, b] = this.#servers;
    await a.query("alter table marker alter id set increment 2");
    await b.query("alter table marker alter id set increment 2 restart 2");
  }

  /** Replicate some tables, which may differ; notes: have triggers write down what the subscriptions write. */
  async join(tables: readonly LedgerTable[], notes: boolean): Promise<void> {
    const [a, b] = this.#servers;
    const names = tables.map((t) => `public.${t.name}`);
    for (const server of this.#servers)
      await server.query(
        `create publication ledger for table ${["public.marker", ...names].join(", ")}; ${notes ? tables.map(noteSql).join("; ") : ""}`,
      );
    for (const [at, from, name] of [
      [a, b, "from_b"],
      [b, a, "from_a"],
    ] as const)
      await at.query(
        `create subscription ${name} connection '${from.uri()}' publication ledger with (copy_data = false, origin = none)`,
      );
    await this.caughtUp();
  }

  async part(): Promise<void> {
    const [a, b] = this.#servers;
    await a.query("drop subscription from_b");
    await b.query("drop subscription from_a");
    for (const server of this.#servers)
      await server.query(
        `drop publication ledger; delete from public.marker; delete from public.replicated;
         do $$ declare f text; begin
           for f in select oid::regprocedure from pg_proc where proname like 'note_t%' loop execute 'drop function ' || f || ' cascade'; end loop;
         end $$`,
      );
  }

  async caughtUp(): Promise<void> {
    for (const [from, to] of [this.#servers, [...this.#servers].reverse()] as [Server, Server][]) {
      const [marker] = await from.query<{ id: number }>(
        "insert into public.marker default values returning id",
      );
      await waitUntil(
        () => to.query("select from public.marker where id = $1", [marker?.id]),
        (rows) => rows.length === 1,
        `${to.name} has what ${from.name} sent`,
        { timeoutMs: 30_000 },
      );
    }
  }

  /** What subscriptions wrote, where that was noted. */
  async replicated(): Promise<Written[]> {
    const found = await Promise.all(
      sides.map(async (side, at) => {
        const rows = await (this.#servers[at] as Server).query<{
          name: string;
          ident: string;
          old: string | null;
          new: string | null;
        }>("select name, ident, old, new from public.replicated order by n");
        return rows.map((r) => ({
          row: rowName(side, r.name, r.ident),
          ...{ side, old: r.old, new: r.new },
        }));
      }),
    );
    return found.flat();
  }
}

const noteSql = ({ name, kind }: LedgerTable) => `
  create function public.note_${name}() returns trigger language plpgsql as $$
  declare
    r record;
  begin
    if (select backend_type from pg_stat_activity where pid = pg_backend_pid()) like 'logical replication%' then
      if tg_op = 'DELETE' then r := old; else r := new; end if;
      insert into public.replicated (name, ident, old, new)
      values ('${name}', ${kind.ident((column) => `r.${column}`)}, old.token, new.token);
    end if;
    return null;
  end $$;
  create trigger note after insert or update or delete on public.${name} for each row execute function public.note_${name}();
  alter table public.${name} enable replica trigger note`;
