import { chmod, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { giveToServer } from "./data-directory.ts";
import { bin, run } from "./pg.ts";
import type { Server } from "./server.ts";

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
