import type { PairSide } from "../shared/action.ts";
import { quoteIdent } from "../shared/sql-text.ts";
import type { HalfFacts } from "./pair-facts.ts";
import type { PairParams } from "./pair-params.ts";
import { type CheckRow, nothingWrong, problem, rowOf } from "./preflight-row.ts";

/** What a merge needs so that subscribers do not send its rows back. */
const originFunctions = [
  "pg_replication_origin_create(text)",
  "pg_replication_origin_drop(text)",
  "pg_replication_origin_session_setup(text, integer)",
  "pg_replication_origin_session_reset()",
];

/** Whether the roles may do what a pair needs: here, and as whom the other side connects. */
export function roleChecks(
  side: PairSide,
  { role, server }: HalfFacts,
  subscriber: { readonly role: string; readonly may_replicate: boolean },
  existing: PairParams["existing"],
): readonly CheckRow[] {
  const row = rowOf(side);
  const quoted = quoteIdent(role.name);
  return [
    row(
      "right to subscribe",
      role.may_subscribe || role.is_superuser
        ? nothingWrong(`role ${quoted} may`)
        : problem(
            `role ${quoted} may not create subscriptions`,
            `grant pg_create_subscription to ${quoted}`,
          ),
    ),
    row(
      "right to set origins",
      role.may_set_origin || existing !== "merge"
        ? nothingWrong(existing === "merge" ? `role ${quoted} may` : "it is of no use here")
        : problem(
            `role ${quoted} may not, so that merged rows would be sent back`,
            originFunctions.map((f) => `grant execute on function ${f} to ${quoted};`).join(" "),
          ),
    ),
    row(
      "right to publish",
      role.may_create
        ? nothingWrong(`role ${quoted} may`)
        : problem(
            `role ${quoted} may create nothing in this database`,
            `grant create on database ${quoteIdent(server.database)} to ${quoted}`,
          ),
    ),
    row(
      "right to replicate",
      subscriber.may_replicate && role.may_replicate
        ? nothingWrong("slots may be made and read")
        : problem(
            `role "${subscriber.may_replicate ? role.name : subscriber.role}" has not the attribute REPLICATION`,
            `alter role ${quoteIdent(subscriber.may_replicate ? role.name : subscriber.role)} replication`,
          ),
    ),
  ];
}
