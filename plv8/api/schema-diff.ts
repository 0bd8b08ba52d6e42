import { queryOne } from "../db/sql.ts";
import { schemaDiff as diff } from "../schema/schema-diff.ts";
import type { Side } from "../schema/schema-objects.ts";
import type { PublicFunction } from "./public-function.ts";

const sides = `
  select s.here as local, s.there as peer
  from steep_repl._schema_sides($1 ->> 'local_node', $1 ->> 'peer_node', $1 ->> 'table_name') s`;

/** How a table differs between this database and a peer, and what would make the peer's like ours. */
export const schemaDiff: PublicFunction = {
  name: "schema_diff",
  args: [
    { name: "local_node", type: "text" },
    { name: "peer_node", type: "text" },
    { name: "table_name", type: "text" },
  ],
  returns: {
    kind: "rows",
    columns: [
      ["object_type", "text"],
      ["object_name", "text"],
      ["local_definition", "text"],
      ["peer_definition", "text"],
      ["status", "text"],
      ["suggested_sql", "text"],
    ],
  },
  volatility: "volatile",
  run(args) {
    return diff(queryOne<{ readonly local: Side; readonly peer: Side }>(sides, args)).map(
      (row) => ({
        ...row,
      }),
    );
  },
};
