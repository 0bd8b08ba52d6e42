import { type ExitCode, exitCode } from "../cli-error.ts";
import { confirm, requireYes } from "../confirm.ts";
import type { Invocation } from "../invocation.ts";
import type { Result } from "../session.ts";
import { call } from "../sql-call.ts";
import { placeOf } from "./local-node.ts";
import { requirePeer } from "./pair-scope.ts";

interface DropOptions {
  readonly force?: boolean;
  readonly yes?: boolean;
}

/** Say what ends on which side, ask, and take the pair apart. */
export async function dropPair(
  invocation: Invocation,
  { force, yes }: DropOptions,
  node: string,
): Promise<ExitCode> {
  requireYes(yes, `dropping the pair with node "${node}"`);
  const { output } = invocation;
  return invocation.withSession(async (session) => {
    await requirePeer(session, node);
    const here = `${session.serverName}, database ${session.client.database}`;
    output.message(
      `here (${here}) and the peer (${await placeOf(session, node)}) stop replicating to each other: ` +
        "subscriptions, slots and publications of the pair are dropped; rows and sequences stay as they are",
    );
    await confirm(yes, `Drop the pair with "${node}"`);
    const { sql, params } = call("drop_pair", { peer: node, force });
    const result = await session.query(sql, params);
    const isOneSided = force === true && !result.rows.some(isDroppedThere);
    await output.rows(output.isJson ? result : withoutCommands(result));
    if (!isOneSided) return exitCode.success;
    output.message(`nothing was dropped at "${node}"; if it is there still, run on it:`);
    for (const { values } of result.rows) {
      if (values.side === "peer") output.message(`  ${values.command};`);
    }
    return exitCode.differs;
  });
}

const isDroppedThere = ({ values }: Result["rows"][number]) =>
  values.side === "peer" && values.dropped === "t";

/** What was done by the commands is no news. */
function withoutCommands({ columns, rows }: Result): Result {
  return { rows, columns: columns.filter(({ name }) => name !== "command") };
}
