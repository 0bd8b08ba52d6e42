import type { Command } from "commander";
import { exitCode } from "../cli-error.ts";
import { addCommand } from "../command.ts";

const codes = { healthy: exitCode.success, degraded: exitCode.differs, unhealthy: exitCode.failed };

export function addHealth(root: Command): void {
  addCommand(root, {
    usage: "health",
    description: "tell whether the server can run jobs; 0 healthy, 1 degraded, 3 unhealthy",
    examples: ["health", "health --json -c service=shop", "health --remote db1.example:15460"],
    action: (invocation) =>
      invocation.withSession(async (session) => {
        const row = await session.row("select * from steep_repl.health()");
        await invocation.output.record(row, (column, value) =>
          column === "reasons" ? value.replace(/^\{|\}$/g, "") : undefined,
        );
        return codes[row.values.status as keyof typeof codes] ?? exitCode.failed;
      }),
    remote: {
      action: async (remote, invocation) => {
        const { remoteHealth } = await import("../remote/health.ts");
        return remoteHealth(remote, invocation);
      },
    },
  });
}
