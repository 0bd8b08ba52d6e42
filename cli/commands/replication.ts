import type { Command } from "commander";
import { exitCode } from "../cli-error.ts";
import { addCommand, option } from "../command.ts";
import { call } from "../sql-call.ts";

export function addReplication(root: Command): void {
  const replication = root
    .command("replication")
    .description("watch subscriptions, and the slots that others read");
  addCommand<{ readonly probe?: boolean }>(replication, {
    usage: "status [node]",
    description: "tell how each direction of replication fares; 1 if one is not as it should be",
    examples: ["replication status", "replication status node_b --probe --json"],
    options: [option("--probe", "ask the nodes for their own ends, too")],
    action: (invocation, { probe }, peer) =>
      invocation.withSession(async (session) => {
        const { sql, params } = call("replication_status", { peer, probe });
        const result = await session.query(sql, params);
        await invocation.output.rows(result, (column, value) =>
          column === "reasons" ? value.replace(/^\{|\}$/g, "") : undefined,
        );
        const isWrong = result.rows.some(({ values }) => values.reasons !== "{}");
        return isWrong ? exitCode.differs : exitCode.success;
      }),
  });
}
