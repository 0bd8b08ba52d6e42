import { readdir } from "node:fs/promises";
import type { Server } from "./server.ts";
import { waitUntil } from "./wait-until.ts";

export interface LeakOptions {
  /** Names in the snapshot directory that are meant to be there. */
  readonly files?: readonly string[];
  /** Replication slots that are meant to be there. */
  readonly slots?: readonly string[];
  /** How long what ends may take to do so, in ms; default 20 s, as a busy machine needs some. */
  readonly withinMs?: number;
}

interface Leftovers {
  readonly workers: string[];
  readonly slots: string[];
  readonly idleInTransaction: string[];
  readonly advisoryLocks: string[];
  readonly files: string[];
}

const leftoversSql = `
  select array(select application_name from pg_stat_activity
                where application_name like 'steep_repl%' and application_name <> 'steep_repl launcher'
                  and backend_type = 'background worker') as workers,
         array(select slot_name::text from pg_replication_slots) as slots,
         array(select pid || ' ' || query from pg_stat_activity
                where state like 'idle in transaction%') as "idleInTransaction",
         array(select pid || ' ' || objid from pg_locks where locktype = 'advisory') as "advisoryLocks"`;

/** Fail if, after some time, something of ours is still there that should have ended. */
export async function expectNoLeaks(server: Server, options: LeakOptions = {}): Promise<void> {
  await waitUntil(
    () => leftovers(server, options),
    (found) => Object.values(found).every((names: string[]) => names.length === 0),
    `${server.name} has no leftovers`,
    { timeoutMs: options.withinMs ?? 20_000 },
  );
}

async function leftovers(
  server: Server,
  { files = [], slots = [] }: LeakOptions,
): Promise<Leftovers> {
  const [found] = await server.query<Omit<Leftovers, "files"> & Record<string, unknown>>(
    leftoversSql,
  );
  if (!found) throw new Error("no row");
  return {
    ...found,
    slots: found.slots.filter((slot) => !slots.includes(slot)),
    files: (await readdir(server.snapshotDir)).filter((file) => !files.includes(file)),
  };
}
