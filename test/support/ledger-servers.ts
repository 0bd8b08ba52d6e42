import { LedgerModel } from "./ledger-model.ts";
import { createRandom } from "./random.ts";
import { type Server, startServer } from "./server.ts";

/** Two servers for the model, before and after the tests of a file. */
export function setLedgerModel(
  hooks: {
    beforeAll(run: () => Promise<void>): void;
    afterAll(run: () => Promise<void>): void;
  },
  { replicates = false } = {},
): () => LedgerModel {
  const servers: Server[] = [];
  let model: LedgerModel | undefined;
  hooks.beforeAll(async () => {
    const settings = {
      ...{ fsync: "off", max_worker_processes: 16, "steep_repl.lock_timeout": "300ms" },
      ...(replicates ? { wal_level: "logical", track_commit_timestamp: "on" } : {}),
    };
    const prefix = replicates ? "ledger-pair" : "ledger";
    for (const [at, name] of [`${prefix}-a`, `${prefix}-b`].entries())
      servers.push(
        await startServer({
          name,
          settings,
          ...(at === 1
            ? { identity: "peer", hba: ["host all merger 127.0.0.1/32 scram-sha-256"] }
            : {}),
        }),
      );
    const [a, b] = servers as [Server, Server];
    model = new LedgerModel(a, b, createRandom(), replicates);
    await model.prepare();
  });
  hooks.afterAll(async () => {
    for (const server of servers) await server.destroy();
  });
  return () => {
    if (model === undefined) throw new Error("there are no servers");
    return model;
  };
}
