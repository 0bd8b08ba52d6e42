import type { Json } from "../db/sql.ts";
import { replicationRows } from "./replication.ts";
import type { ReplicationFacts } from "./replication-facts.ts";

/** What health() looks at. Counts are text: they are 64-bit in SQL. */
export interface HealthFacts {
  readonly extension_version: string;
  readonly library_version: string;
  readonly pg_version: string;
  readonly in_recovery: boolean;
  readonly preloaded: boolean;
  readonly launcher_alive: boolean;
  readonly active: string;
  readonly pending: string;
  readonly last_error: string | null;
  readonly waiting_reason: string | null;
  readonly covering_publications: string | null;
  readonly replication: ReplicationFacts;
}

/** Why this node is not as it should be. */
function reasonsFor(facts: HealthFacts): readonly string[] {
  const reasons: string[] = [];
  if (!facts.preloaded) {
    reasons.push(
      "steep_repl is not preloaded: add shared_preload_libraries = 'steep_repl' to postgresql.conf and restart",
    );
  } else if (!facts.launcher_alive) {
    reasons.push(
      facts.in_recovery
        ? "this server is a standby: the launcher starts after promotion"
        : "the launcher is not running: raise max_worker_processes if its slots are used up, and see the server log",
    );
  }
  if (facts.library_version !== facts.extension_version) {
    reasons.push(
      `the loaded library is version ${facts.library_version} and the extension ${facts.extension_version}: restart the server, then run ALTER EXTENSION steep_repl UPDATE`,
    );
  }
  if (facts.covering_publications !== null) {
    reasons.push(
      `the tables of steep_repl are published by ${facts.covering_publications}: they are node-local, so publish the schemas that you mean instead`,
    );
  }
  if (facts.waiting_reason !== null) {
    reasons.push(`${facts.pending} jobs are ${facts.waiting_reason}`);
  }
  return [...reasons, ...replicationRows(facts.replication, [], {}).flatMap((row) => row.reasons)];
}

/** The row of health(). */
export function assessHealth(
  facts: HealthFacts | { readonly failure: string },
  engine: string,
): { readonly [column: string]: Json } {
  if ("failure" in facts) {
    return { status: "unhealthy", js_engine: engine, reasons: [facts.failure] };
  }
  const reasons = reasonsFor(facts);
  return {
    status: reasons.length === 0 ? "healthy" : "degraded",
    extension_version: facts.extension_version,
    pg_version: facts.pg_version,
    js_engine: engine,
    background_worker_running: facts.launcher_alive,
    shared_memory_available: facts.preloaded,
    active_operations: facts.active,
    pending_operations: facts.pending,
    last_error: facts.last_error,
    reasons,
    library_version: facts.library_version,
  };
}
