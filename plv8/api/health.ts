import { engineName } from "../db/engine.ts";
import { queryOne } from "../db/sql.ts";
import { SteepError } from "../db/steep-error.ts";
import { bundleVersion } from "../db/version.ts";
import { assessHealth, type HealthFacts } from "../watch/health.ts";
import type { PublicFunction } from "./public-function.ts";

const gather = `
  select steep_repl._library_version() as library_version,
         current_setting('server_version') as pg_version,
         pg_is_in_recovery() as in_recovery,
         steep_repl._preloaded() as preloaded,
         steep_repl._launcher_is_alive() as launcher_alive,
         steep_repl._replication_facts() as replication,
         c.active::text as active, c.pending::text as pending, c.last_error,
         case when c.pending > 0 then steep_repl._waiting_reason('snapshot_generate') end as waiting_reason,
         (select string_agg(quote_ident(p.pubname), ', ') from (
            select p.pubname from pg_publication p
            where case when p.puballtables
              -- tables that are listed, too, are left out; from PostgreSQL 19 on
              then exists (select from pg_class r where r.relnamespace = 'steep_repl'::regnamespace and r.relkind in ('r', 'p')
                           and not exists (select from pg_publication_rel pr where pr.prpubid = p.oid and pr.prrelid = r.oid))
              else exists (select from pg_publication_namespace pn where pn.pnpubid = p.oid and pn.pnnspid = 'steep_repl'::regnamespace)
                or exists (select from pg_publication_rel pr join pg_class r on r.oid = pr.prrelid
                           where pr.prpubid = p.oid and r.relnamespace = 'steep_repl'::regnamespace) end
            order by p.pubname limit 10) p) as covering_publications
  from steep_repl._operation_counts() c`;

/** A monitoring query must get an answer; only a cancellation passes. */
function gatherFacts(): HealthFacts | { readonly failure: string } {
  try {
    return {
      ...queryOne<Omit<HealthFacts, "extension_version">>(gather),
      extension_version: bundleVersion(),
    };
  } catch (e) {
    if (e instanceof SteepError && e.data.sqlstate !== "57014") {
      return { failure: e.data.message };
    }
    throw e;
  }
}

/** One row that says whether this node can do its work, for any role. */
export const health: PublicFunction = {
  name: "health",
  args: [],
  returns: {
    kind: "record",
    columns: [
      ["status", "text"],
      ["extension_version", "text"],
      ["pg_version", "text"],
      ["js_engine", "text"],
      ["background_worker_running", "boolean"],
      ["shared_memory_available", "boolean"],
      ["active_operations", "bigint"],
      ["pending_operations", "bigint"],
      ["last_error", "text"],
      ["reasons", "text[]"],
      ["library_version", "text"],
    ],
  },
  volatility: "volatile",
  run() {
    return assessHealth(gatherFacts(), engineName());
  },
};
