import { readFile, rm } from "node:fs/promises";
import { join } from "node:path";
import type { Manifest } from "./archive.ts";
import type { ConnectOptions } from "./node.ts";
import type { Server } from "./server.ts";
import { freshPath, takeSnapshot } from "./snapshots.ts";

/** The data file of a table of schema public, and what COPY makes of the table where times are those of UTC. */
export async function bothTexts(
  server: Server,
  table: string,
  options: ConnectOptions,
  workers = 1,
): Promise<readonly [ours: string, copy: string]> {
  const { storage_path: path } = await takeSnapshot(server, {
    args: `compression => 'none', parallel => ${workers}, tables => '{public.${table}}'`,
    ...options,
  });
  const manifest: Manifest = JSON.parse(await readFile(join(path, "manifest.json"), "utf8"));
  const { name = "" } = manifest.files.find((file) => file.table === table) ?? {};
  const copied = freshPath(server);
  const client = await server.connect(options);
  await client.query("set TimeZone = 'UTC'; set DateStyle = 'ISO'");
  await client.query(`copy ${table} to '${copied}'`);
  await client.end();
  const ours = await readFile(join(path, name), "latin1");
  const copy = await readFile(copied, "latin1");
  await rm(copied);
  return [ours, `${copy}\\.\n\n\n`];
}
