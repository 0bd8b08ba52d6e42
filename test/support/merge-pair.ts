import { afterAll, afterEach, beforeAll } from "vitest";
import { expectNoLeaks } from "./leaks.ts";
import { imagesOf, type MergeOptions, type MergeRow, runMerge } from "./merge.ts";
import type { Settings } from "./node.ts";
import { createRole } from "./roles.ts";
import { type Server, startServer } from "./server.ts";

export const password = "hush hush";

/** Two servers; the extension is on one of them only, and the role `merger` is on both. */
export interface MergePair {
  readonly a: Server;
  readonly b: Server;
  /** The same statements on both sides. */
  both(sql: string): Promise<void>;
  /** A connection string to b as `merger`, with the password that it needs. */
  readonly asMerger: string;
  /** Merge from a with b. */
  merge(args?: string, options?: MergeOptions & { readonly peer?: string }): Promise<MergeRow>;
  /** The same as the role `merger`, here and at the peer. */
  mergeAsMerger(args?: string, options?: MergeOptions): Promise<MergeRow>;
  /** Every row of our own tables on both sides, with its version. */
  versions(): Promise<unknown>;
}

const tablesSql = `select format('public.%I', relname) as name from pg_class
  where relnamespace = 'public'::regnamespace and relkind = 'r' order by 1`;

const dropAll = `do $$ declare command text; begin
  for command in
    select format('drop table if exists public.%I cascade', c.relname)
    from pg_class c where c.relnamespace = 'public'::regnamespace and c.relkind in ('r', 'p') and not c.relispartition
    union all
    select format('drop type if exists public.%I cascade', t.typname) from pg_type t
    where t.typnamespace = 'public'::regnamespace and (t.typtype in ('e', 'd') or t.typtype = 'c'
      and (select c.relkind = 'c' from pg_class c where c.oid = t.typrelid))
      and not exists (select from pg_depend d where d.objid = t.oid and d.deptype = 'e')
    union all
    select format('drop function if exists %s cascade', p.oid::regprocedure) from pg_proc p
    where p.pronamespace = 'public'::regnamespace and not exists (select from pg_depend d where d.objid = p.oid and d.deptype = 'e')
  loop execute command; end loop;
end $$`;

const endIdle =
  "select pg_terminate_backend(pid, 1000) from pg_stat_activity where state like 'idle in transaction%'";

/** Make the servers for the tests of a file; tables, types and functions in public go after each. */
export function setMergePair(
  name: string,
  use: (pair: MergePair) => void,
  settings: Settings = {},
): void {
  let a: Server;
  let b: Server;
  beforeAll(async () => {
    a = await startServer({
      name,
      settings: { "steep_repl.poll_interval": "1s", max_worker_processes: 16, ...settings },
    });
    b = await startServer({
      name: `${name}-b`,
      identity: "peer",
      hba: ["host all merger 127.0.0.1/32 scram-sha-256"],
      settings,
    });
    await a.query("create extension steep_repl cascade");
    await createRole(a, "postgres", "merger");
    await b.query(`create role merger login password '${password}'`);
    use(pairOf(a, b));
  });
  afterAll(async () => {
    await a.destroy();
    await b.destroy();
  });
  afterEach(async () => {
    try {
      await expectNoLeaks(a);
      await expectNoLeaks(b);
    } finally {
      // what a failed test left would fail the others too
      for (const server of [a, b]) await server.query(`${endIdle}; ${dropAll}`);
    }
  });
}

function pairOf(a: Server, b: Server): MergePair {
  const asMerger = `host=127.0.0.1 port=${b.port} dbname=postgres user=merger password='${password}'`;
  const merge: MergePair["merge"] = (args, { peer = b.uri(), ...options } = {}) =>
    runMerge(a, peer, { ...(args === undefined ? {} : { args }), ...options });
  return {
    ...{ a, b, asMerger, merge },
    both: async (sql) => {
      await Promise.all([a.query(sql), b.query(sql)]);
    },
    mergeAsMerger: (args, options = {}) =>
      merge(args, { ...options, peer: asMerger, user: "merger" }),
    versions: async () => [await versionsOf(a), await versionsOf(b)],
  };
}

async function versionsOf(server: Server): Promise<unknown> {
  const tables = await server.query<{ name: string }>(tablesSql);
  const names = tables.map((t) => t.name);
  const columns = "ctid, xmin, t::text as row";
  return [
    names,
    await imagesOf(
      server,
      names.map((n) => `only ${n} t`),
      { columns },
    ),
  ];
}
