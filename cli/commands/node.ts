import type { Command } from "commander";
import { CliError, exitCode } from "../cli-error.ts";
import { addCommand, integerOption, option, yesOption } from "../command.ts";
import { confirm, requireYes } from "../confirm.ts";
import { call } from "../sql-call.ts";

interface RegisterOptions {
  readonly nodeName?: string;
  readonly host?: string;
  readonly port?: string;
  readonly priority?: string;
  readonly dbname?: string;
  readonly username?: string;
  readonly foreignServer?: string;
}

const nodeColumns =
  "node_id, node_name, host, port, dbname, username, foreign_server, priority, node_number, system_identifier, registered_by, last_seen";

export function addNode(root: Command): void {
  const node = root.command("node").description("databases that take part in replication");
  addRegister(node);
  addListAndStatus(node);
  addRemove(node);
}

function addRegister(node: Command): void {
  addCommand<RegisterOptions>(node, {
    usage: "register <node-id>",
    description: "register a node, or change its entry: what is left out stays as it is",
    examples: [
      "node register node-a",
      "node register node-b --foreign-server b",
      'node register node-c --node-name "Node C" --host db3 --dbname shop --username steep_repl',
    ],
    options: [
      option("--node-name <name>", "name for people (default of a new node: its id)"),
      option("--host <host>", "host name (default of a new node: this server)"),
      integerOption(
        "--port <port>",
        "port (default of a new node: this server's own, or 5432 of another host)",
      ),
      integerOption(
        "--priority <number>",
        "1 to 100, the higher is preferred (default of a new node: 50)",
      ),
      option("--dbname <name>", "database"),
      option("--username <name>", "role to connect as"),
      option(
        "--foreign-server <name>",
        "a server of dblink_fdw whose user mapping has the password",
      ),
    ],
    action: (invocation, options, nodeId) =>
      invocation.withSession(async (session) => {
        const { sql, params } = call("register_node", {
          ...{ node_id: nodeId, node_name: options.nodeName },
          ...{ host: options.host, port: options.port, priority: options.priority },
          ...{ dbname: options.dbname, username: options.username },
          foreign_server: options.foreignServer,
        });
        const row = await session.row(`select ${nodeColumns} from (${sql}) n`, params);
        await invocation.output.record(row);
        return exitCode.success;
      }),
    remote: {
      options: ["nodeName", "host", "port", "priority"],
      action: async (remote, invocation, options, nodeId = "") => {
        const { remoteRegister } = await import("../remote/nodes.ts");
        return remoteRegister(remote, invocation, nodeId, options);
      },
    },
  });
}

function addListAndStatus(node: Command): void {
  addCommand(node, {
    usage: "list",
    description: "list the nodes that are registered on this server",
    examples: ["node list", "node list --json"],
    action: (invocation) =>
      invocation.withSession(async (session) => {
        const sql = `select ${nodeColumns} from steep_repl.nodes order by node_id`;
        await invocation.output.rows(await session.query(sql));
        return exitCode.success;
      }),
    remote: {
      action: async (remote, invocation) => {
        const { remoteNodes } = await import("../remote/nodes.ts");
        return remoteNodes(remote, invocation);
      },
    },
  });
  addCommand<{ readonly probe?: boolean }>(node, {
    usage: "status [node-id]",
    description: "tell which nodes were seen lately; with --probe, 1 if one is not online",
    examples: ["node status", "node status node-b --probe"],
    options: [option("--probe", "connect to the nodes to find out")],
    action: (invocation, { probe }, nodeId) =>
      invocation.withSession(async (session) => {
        const { sql, params } = call("node_status", { node_id: nodeId, probe });
        const result = await session.query(sql, params);
        await invocation.output.rows(result);
        const isUnseen = result.rows.some(({ values }) => values.status !== "online");
        return probe && isUnseen ? exitCode.differs : exitCode.success;
      }),
    remote: {
      action: async (remote, invocation, _, nodeId) => {
        const { remoteNodeStatus } = await import("../remote/nodes.ts");
        return remoteNodeStatus(remote, invocation, nodeId);
      },
    },
  });
}

function addRemove(node: Command): void {
  addCommand<{ readonly yes?: boolean }>(node, {
    usage: "remove <node-id>",
    description: "forget a node; asks first",
    examples: ["node remove node-b", "node remove node-b --yes"],
    options: [yesOption()],
    action: (invocation, { yes }, nodeId = "") => {
      requireYes(yes, `removing node "${nodeId}"`);
      return invocation.withSession(async (session) => {
        const found = await session.query(
          `select ${nodeColumns} from steep_repl.nodes where node_id = $1`,
          [nodeId],
        );
        const [row] = found.rows;
        if (!row) throw unknownNode(nodeId);
        const { host, port, dbname } = row.values;
        const place = `${host ?? "no host"}, port ${port}, database ${dbname ?? "not given"}`;
        invocation.output.message(
          `node "${nodeId}" (${place}) is forgotten on server ${session.serverName}: 1 entry; its database stays as it is`,
        );
        await confirm(yes, `Remove node "${nodeId}"`);
        const removed = call("remove_node", { node_id: nodeId });
        const { values } = await session.row(removed.sql, removed.params);
        if (values.f !== "t") throw unknownNode(nodeId);
        await invocation.output.record(row);
        return exitCode.success;
      });
    },
  });
}

function unknownNode(nodeId: string): CliError {
  return new CliError(
    exitCode.failed,
    `node "${nodeId}" is not registered`,
    "see steep-repl node list",
  );
}
