import { createHash } from "node:crypto";
import { existsSync } from "node:fs";
import { appendFile, mkdir, rename, rm } from "node:fs/promises";
import type { Engine } from "./engines.ts";
import type { Settings } from "./node.ts";
import { bin, inProject, pgConfig, run } from "./pg.ts";

/** How programs that refuse to be root are run. */
export const unprivileged = inProject("scripts/unprivileged.sh");

/** Give paths to the user that servers run as, where that is another one. */
export async function giveToServer(...paths: readonly string[]): Promise<void> {
  if (process.getuid?.() === 0) await run(unprivileged, ["--own", ...paths]);
}

/** Lines of postgresql.conf. */
export function settingLines(settings: Settings): string {
  return Object.entries(settings)
    .map(([name, value]) => `${name} = '${String(value).replaceAll("'", "''")}'\n`)
    .join("");
}

// No test looks at durability across a real power cut: fsync would only cost time.
const everywhere: Settings = {
  listen_addresses: "127.0.0.1",
  wal_level: "logical",
  fsync: "off",
  shared_buffers: "64MB",
  min_wal_size: "32MB",
  max_wal_size: "256MB",
  log_line_prefix: "%m [%p] %b ",
};

/** The first OID that is not the system's own. */
const firstOid = 16384;

/**
 * Make a new data directory. It has the engine and dblink in template1, as `make server` has.
 * Those of one identity are copies, and so have the same system identifier.
 */
export async function createDataDirectory(
  path: string,
  engine: Engine,
  identity: string,
): Promise<void> {
  const template = await ensureTemplate(engine, identity);
  await run("cp", ["-a", template, path]);
}

async function ensureTemplate(engine: Engine, identity: string): Promise<string> {
  const key = createHash("sha256")
    .update(
      JSON.stringify([pgConfig("--version"), pgConfig("--bindir"), everywhere, firstOid, identity]),
    )
    .digest("hex")
    .slice(0, 12);
  const template = inProject("build", `test-template-${engine}-${key}`);
  if (existsSync(template)) return template;

  // Several test files may do this at the same time; the first to finish wins.
  const own = `${template}.${process.pid}`;
  await mkdir(inProject("build"), { recursive: true });
  await initialize(own, engine);
  await rename(own, template).catch(async (error: NodeJS.ErrnoException) => {
    if (!existsSync(template)) throw error;
    await rm(own, { recursive: true });
  });
  return template;
}

async function initialize(path: string, engine: Engine): Promise<void> {
  await mkdir(path, { recursive: true });
  await giveToServer(path);
  await run(unprivileged, [
    ...[bin("initdb"), "-D", path, "-U", "postgres", "-A", "trust", "--no-sync"],
    ...["-E", "UTF8", "--locale=C.UTF-8"],
  ]);
  await appendFile(`${path}/postgresql.conf`, settingLines(everywhere));
  // a standalone backend would give extensions an OID of the system's, and pg_dump leave them out
  await run(unprivileged, [bin("pg_resetwal"), "-o", `${firstOid}`, "-D", path]);
  for (const database of ["template1", "postgres"]) {
    await run(unprivileged, [bin("postgres"), "--single", "-F", "-D", path, database], {
      input: `create extension ${engine}\ncreate extension dblink\n`,
    });
  }
}
