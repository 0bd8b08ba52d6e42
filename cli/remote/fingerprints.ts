import type { TableFingerprint } from "../rpc/generated/steep_repl_pb.ts";
import type { Result } from "../session.ts";
import { resultOf } from "./result.ts";

/** The fingerprint of a table, as a daemon or a session tells it. */
export interface Fingerprint {
  readonly schema: string;
  readonly table: string;
  readonly digest: string;
}

export const columns = [
  ...["schema_name", "table_name", "local_fingerprint", "peer_fingerprint", "status"],
] as const;

export function fingerprintOf(message: TableFingerprint): Fingerprint {
  const { schemaName, tableName, fingerprint } = message;
  return { schema: schemaName, table: tableName, digest: fingerprint };
}

const keyOf = ({ schema, table }: Fingerprint) => JSON.stringify([schema, table]);

/** Names in the order of their bytes, as the server sorts them. */
function inOrder(a: Fingerprint, b: Fingerprint): number {
  const bySchema = Buffer.compare(Buffer.from(a.schema), Buffer.from(b.schema));
  return bySchema || Buffer.compare(Buffer.from(a.table), Buffer.from(b.table));
}

/** Two sides' fingerprints as rows of compare_fingerprints. */
export function comparisonOf(here: readonly Fingerprint[], there: readonly Fingerprint[]): Result {
  const local = new Map(here.map((f) => [keyOf(f), f]));
  const peer = new Map(there.map((f) => [keyOf(f), f]));
  const all = new Map([...peer, ...local]);
  const rows = [...all]
    .sort(([, a], [, b]) => inOrder(a, b))
    .map(([key, { schema, table }]) => {
      const [a, b] = [local.get(key)?.digest ?? null, peer.get(key)?.digest ?? null];
      const status =
        b === null ? "local_only" : a === null ? "peer_only" : a === b ? "match" : "mismatch";
      return {
        ...{ schema_name: schema, table_name: table },
        ...{ local_fingerprint: a, peer_fingerprint: b, status },
      };
    });
  return resultOf(columns, [], rows);
}
