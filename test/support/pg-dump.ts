import { existsSync } from "node:fs";
import { chmod, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { giveToServer } from "./data-directory.ts";
import { bin, run } from "./pg.ts";
import type { Server } from "./server.ts";
import { waitUntil } from "./wait-until.ts";

let programs = 0;

/** Have snapshots run a shell script in pg_dump's place, until `steep_repl.pg_dump_path` is reset. */
export async function insteadOfPgDump(server: Server, script: string): Promise<void> {
  const path = join(server.home, `not-pg_dump-${++programs}`);
  await writeFile(path, `#!/bin/sh\n${script}\n`);
  await chmod(path, 0o755);
  await giveToServer(path);
  await server.configure({ "steep_repl.pg_dump_path": path });
}

/** Have the next snapshot wait just before pg_dump begins; returns what lets it, and later ones, go on. */
export async function holdPgDump(server: Server): Promise<() => Promise<void>> {
  const gate = join(server.home, `gate-${++programs}`);
  await run("mkfifo", [gate]);
  await giveToServer(gate);
  await insteadOfPgDump(server, `read -r _ <'${gate}'; exec ${bin("pg_dump")} "$@"`);
  return async () => {
    await writeFile(gate, "\n");
    await server.configure({ "steep_repl.pg_dump_path": "" });
  };
}

/**
 * Have the next snapshot begin, and wait for a table that somebody else has locked, as others hear of it;
 * `whileItWaits` is run then.
 */
export async function lockAfterPgDump(
  server: Server,
  options: { readonly database: string; readonly table: string },
  start: () => Promise<unknown>,
  whileItWaits: () => Promise<unknown>,
): Promise<void> {
  const gate = join(server.home, `gate-${++programs}`);
  await run("mkfifo", [gate]);
  await giveToServer(gate);
  // pg_dump locks tables, too: the other session comes between it and the job's own locks
  await insteadOfPgDump(
    server,
    `${bin("pg_dump")} "$@"; code=$?; : >'${gate}.done'; read -r _ <'${gate}'; exit $code`,
  );
  const blocker = await server.connect({ database: options.database });
  try {
    await start();
    await waitUntil(() => existsSync(`${gate}.done`), Boolean, "pg_dump is done");
    await blocker.query(`begin; lock table ${options.table} in access exclusive mode`);
    await writeFile(gate, "\n");
    await whileItWaits();
  } finally {
    await blocker.end();
    await server.configure({ "steep_repl.pg_dump_path": "" });
  }
}
