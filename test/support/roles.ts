import type { Server } from "./server.ts";
import { waitUntil } from "./wait-until.ts";

/** Make a role with the documented grants in a database, as the manual says. */
export async function createRole(
  server: Server,
  database: string,
  name: string,
  options = "login",
): Promise<void> {
  await server.query(`create role ${name} ${options}`, [], { database });
  await grantRole(server, database, name);
}

/** Give a role the documented grants in a database. */
export async function grantRole(server: Server, database: string, name: string): Promise<void> {
  await server.query(
    `grant usage on schema steep_repl to ${name};
     grant select, insert, update, delete on all tables in schema steep_repl to ${name};
     grant select on all tables in schema public to ${name}`,
    [],
    { database },
  );
}

export async function dropRole(server: Server, database: string, name: string): Promise<void> {
  await server.query(`drop owned by ${name}; drop role ${name}`, [], { database });
}

/** Keep jobs from starting for as long as an action runs. The server's poll_interval is short. */
export async function whileJobsWait<T>(server: Server, action: () => Promise<T>): Promise<T> {
  await server.configure({ "steep_repl.reserved_worker_slots": 1000 });
  try {
    // one that began before goes by the old value
    await waitUntil(
      () => server.pidsByApplicationName("steep_repl dispatcher"),
      (pids) => pids.length === 0,
      "no dispatcher runs",
    );
    return await action();
  } finally {
    await server.configure({ "steep_repl.reserved_worker_slots": 3 });
  }
}
