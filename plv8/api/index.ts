import { health } from "./health.ts";
import type { PublicFunction } from "./public-function.ts";
import { registerNode } from "./register-node.ts";
import { replicationStatus } from "./replication-status.ts";
import { schemaDiff } from "./schema-diff.ts";
import { startApply } from "./start-apply.ts";
import { startSnapshot } from "./start-snapshot.ts";

/** Every function of the SQL interface that is written in TypeScript. */
export const publicFunctions: readonly PublicFunction[] = [
  registerNode,
  health,
  replicationStatus,
  startSnapshot,
  startApply,
  schemaDiff,
];
