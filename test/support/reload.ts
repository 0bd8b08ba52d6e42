import type { PgNode } from "./node.ts";
import { waitUntil } from "./wait-until.ts";

/** Ask a server to read its configuration again; returns when new sessions have it. */
export async function reloadBy(node: Pick<PgNode, "query">, ask: () => unknown): Promise<void> {
  const loaded = async () =>
    String((await node.query("select pg_conf_load_time()::text as at"))[0]?.at);
  const before = await loaded();
  await ask();
  await waitUntil(loaded, (at) => at !== before, "the configuration is reloaded");
}
