import type { Command } from "commander";
import { exitCode } from "../cli-error.ts";
import {
  addCommand,
  integerOption,
  type JobOptions,
  jobOptions,
  listOption,
  oldOption,
  option,
  yesOption,
} from "../command.ts";
import { unquote } from "../split-names.ts";
import { call } from "../sql-call.ts";
import { formatFor } from "./format.ts";
import { isHere } from "./here.ts";
import { type ApplyOptions, applySnapshot } from "./snapshot-apply.ts";
import { dropSnapshot } from "./snapshot-drop.ts";
import { addDownload, addFetch, addInspect } from "./snapshot-fetch.ts";

interface GenerateOptions extends JobOptions {
  readonly output: string;
  readonly compression?: string;
  readonly parallel?: string;
  readonly level?: string;
  readonly tables?: readonly string[];
  readonly schemas?: readonly string[];
  readonly slotName?: string;
  readonly publications?: readonly string[];
  readonly largeObjects?: string;
  readonly excludeTables?: readonly string[];
}

export function addSnapshot(root: Command): void {
  const snapshot = root
    .command("snapshot")
    .description("consistent copies of a database, in directories on its server");
  addGenerate(snapshot);
  addApply(snapshot);
  addList(snapshot);
  addVerify(snapshot);
  addFetch(snapshot);
  addDownload(snapshot);
  addInspect(snapshot);
  addProgress(snapshot);
  addDrop(snapshot);
}

function addGenerate(snapshot: Command): void {
  addCommand<GenerateOptions>(snapshot, {
    usage: "generate [node]",
    description: "take a snapshot of the database into a directory on the server; NODE is a label",
    examples: [
      'snapshot generate my-node --output /backups/snapshot -c "postgresql://steep_repl@localhost:5432/mydb"',
      "snapshot generate --output /backups/orders --tables public.orders,public.customers --parallel 8",
      "snapshot generate --output /backups/seed --slot-name to_b --publications everything --no-wait",
      "snapshot generate my-node --output /backups/snapshot --remote db1.example:15460 --ca ca.crt",
    ],
    options: [
      option("-o, --output <path>", "new or empty directory on the server").makeOptionMandatory(),
      option("--compression <name>", "none, gzip, lz4 or zstd (default: zstd)"),
      integerOption("--parallel <number>", "copy workers at most, 1 to 64 (default: 4)"),
      integerOption("--level <number>", "of the compression"),
      listOption(
        "--tables <names>",
        "only these: schema.table, quoted as in SQL, with commas between",
      ),
      listOption("--schemas <names>", "only these schemas"),
      option("--slot-name <name>", "make a logical slot that begins where the snapshot ends"),
      listOption("--publications <names>", "those that the slot's subscriber will use"),
      option("--large-objects <what>", "copy (default), refuse or skip"),
      listOption("--exclude-tables <patterns>", "tables to leave out, as 'audit.*,public.log_?'"),
      progressOption(),
      ...jobOptions(),
    ],
    action: async (invocation, options, node) => {
      const { startAndFollow } = await import("../job/run-job.ts");
      const session = await invocation.open();
      try {
        const statement = call("start_snapshot", generateArguments(options, node));
        return await startAndFollow(invocation, session, statement, options);
      } finally {
        await session.end();
      }
    },
    remote: {
      options: ["output", "compression", "parallel"],
      action: async (remote, invocation, options, node) => {
        const { remoteGenerate } = await import("../remote/snapshots.ts");
        return remoteGenerate(remote, invocation, options, node);
      },
    },
  });
}

function progressOption() {
  return oldOption("--progress", "no effect: progress is shown anyway");
}

function generateArguments(options: GenerateOptions, node: string | undefined) {
  return {
    ...{ output_path: options.output, compression: options.compression },
    ...{ parallel: options.parallel, level: options.level, tables: options.tables },
    ...{ schemas: options.schemas?.map(unquote), slot_name: options.slotName },
    ...{ publications: options.publications?.map(unquote), node_id: node },
    ...{ large_objects: options.largeObjects, exclude_tables: options.excludeTables },
  };
}

function addApply(snapshot: Command): void {
  addCommand<ApplyOptions>(snapshot, {
    usage: "apply [node]",
    description:
      "load a snapshot from a directory on the server into the database; NODE is a label",
    examples: [
      "snapshot apply --input /backups/snapshot -c service=copy",
      "snapshot apply node-b --input /backups/orders --sections data --truncate",
    ],
    options: [
      option("-i, --input <path>", "directory on the server").makeOptionMandatory(),
      integerOption("--parallel <number>", "workers at most, 1 to 64 (default: 4)"),
      option("--no-verify", "do not check every byte first"),
      oldOption("--verify", "check every byte first, as is done anyway"),
      oldOption("--source <node>", "over RPC only: the node that the snapshot is of"),
      progressOption(),
      listOption("--sections <names>", "pre-data, data, post-data (default: all)"),
      listOption(
        "--tables <names>",
        "only these: schema.table, quoted as in SQL, with commas between",
      ),
      option("--truncate", "empty existing tables before they are loaded; asks first"),
      option("--no-owner", "do not set owners"),
      option("--no-privileges", "do not grant or revoke"),
      option("--replicate", "have peers get the rows, too, by this node's publications"),
      yesOption(),
      ...jobOptions(),
    ],
    action: (invocation, options, node) => applySnapshot(invocation, options, node),
    remote: {
      options: ["input", "source", "parallel", "verify"],
      action: async (remote, invocation, options, node) => {
        const { remoteApply } = await import("../remote/snapshots.ts");
        return remoteApply(remote, invocation, options, node);
      },
    },
  });
}

function addList(snapshot: Command): void {
  const columns = `snapshot_id, operation, node_id, status, storage_path, table_count, rows_written, size_bytes, lsn, created_at, completed_at`;
  addCommand(snapshot, {
    usage: "list",
    description: "list snapshots taken, applied and fetched in this database, the newest first",
    examples: ["snapshot list", "snapshot list --json"],
    action: (invocation) =>
      invocation.withSession(async (session) => {
        const result = await session.query(
          `select ${invocation.output.isJson ? "s.*" : columns} from steep_repl.snapshots s
           where ${isHere} order by created_at desc, snapshot_id`,
        );
        await invocation.output.rows(result, formatFor(session.serverName));
        return exitCode.success;
      }),
  });
}

function addVerify(snapshot: Command): void {
  addCommand<{ readonly local?: boolean }>(snapshot, {
    usage: "verify <path>",
    description: "read every byte of a snapshot again; lists problems, 1 if there are any",
    examples: ["snapshot verify /backups/snapshot", "snapshot verify ./monday --local"],
    options: [option("--local", "a directory on this machine; needs no PostgreSQL")],
    action: async (invocation, { local }, path = "") => {
      if (local) {
        const { verifyLocal } = await import("./snapshot-local.ts");
        return verifyLocal(invocation, path);
      }
      return invocation.withSession(async (session) => {
        const { sql, params } = call("verify_snapshot", { path });
        const result = await session.query(sql, params);
        const { output } = invocation;
        if (output.isJson || result.rows.length > 0) await output.rows(result);
        const found =
          result.rows.length === 0 ? "sound" : `damaged: ${result.rows.length} problems`;
        if (!output.isJson) output.line(`${path} on server ${session.serverName} is ${found}`);
        return result.rows.length === 0 ? exitCode.success : exitCode.differs;
      });
    },
  });
}

function addProgress(snapshot: Command): void {
  addCommand(snapshot, {
    usage: "progress [snapshot-id]",
    description: "show how far a snapshot, an apply or a fetch is: all active ones, or the latest",
    examples: ["snapshot progress", "snapshot progress snap_20261126_120000_1a2b3c4d --json"],
    action: (invocation, _, id) =>
      invocation.withSession(async (session) => {
        const { sql, params } = call("snapshot_progress", { snapshot_id: id });
        const result = await session.query(sql, params);
        await invocation.output.rows(result, formatFor(session.serverName));
        return exitCode.success;
      }),
    remote: {
      action: async (remote, invocation, _, id) => {
        const { remoteProgress } = await import("../remote/snapshots.ts");
        return remoteProgress(remote, invocation, id);
      },
    },
  });
}

function addDrop(snapshot: Command): void {
  addCommand<{ readonly yes?: boolean }>(snapshot, {
    usage: "drop <snapshot-id>",
    description:
      "remove a snapshot's files, its unused slot and its row; of an apply the row; asks first",
    examples: [
      "snapshot drop snap_20261126_120000_1a2b3c4d",
      "snapshot drop snap_20261126_120000_1a2b3c4d --yes",
    ],
    options: [yesOption()],
    action: (invocation, { yes }, id = "") => dropSnapshot(invocation, yes, id),
  });
}
