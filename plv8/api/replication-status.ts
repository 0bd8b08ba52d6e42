import { query, queryOne } from "../db/sql.ts";
import { SteepError } from "../db/steep-error.ts";
import { replicationRows } from "../watch/replication.ts";
import type { PeerName, Probed, ReplicationFacts } from "../watch/replication-facts.ts";
import type { PublicFunction } from "./public-function.ts";

const gather = `
  select steep_repl._replication_facts() as facts, steep_repl._replication_peers() as peers`;

const ask =
  "select steep_repl._replication_probe(array(select jsonb_array_elements_text($1 -> 'nodes'))) as probed";

/** How each direction of replication fares, with the other ends where they are asked. */
export const replicationStatus: PublicFunction = {
  name: "replication_status",
  args: [
    { name: "peer", type: "text", default: "null" },
    { name: "probe", type: "boolean", default: "false" },
  ],
  returns: {
    kind: "rows",
    type: "replication_state",
    columns: [
      ["peer", "text"],
      ["direction", "text"],
      ["subscription", "text"],
      ["slot_name", "text"],
      ["state", "text"],
      ["lag_bytes", "bigint"],
      ["lag", "interval"],
      ["retained_bytes", "bigint"],
      ["wal_status", "text"],
      ["inactive_since", "timestamptz"],
      ["tables_ready", "integer"],
      ["tables_total", "integer"],
      ["apply_errors", "bigint"],
      ["sync_errors", "bigint"],
      ["conflicts", "bigint"],
      ["last_error", "text"],
      ["reasons", "text[]"],
    ],
  },
  volatility: "volatile",
  run({ peer, probe }) {
    const { facts, peers } = queryOne<{
      readonly facts: ReplicationFacts;
      readonly peers: readonly PeerName[];
    }>(gather);
    const wanted = peers.filter(({ node }) => peer === null || node === peer);
    if (peer !== null && wanted.length === 0) {
      throw new SteepError({
        sqlstate: "42704",
        message: `node "${peer}" is not registered, or is this database`,
        hint: "See steep_repl.nodes for those that are.",
      });
    }
    const nodes = wanted.map(({ node }) => node);
    const [found] = probe === true ? query<{ readonly probed: Probed }>(ask, { nodes }) : [];
    return replicationRows(facts, peers, found?.probed ?? {}).filter(
      (row) => peer === null || row.peer === peer,
    );
  },
};
