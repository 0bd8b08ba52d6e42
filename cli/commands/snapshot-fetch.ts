import type { Command } from "commander";
import {
  addCommand,
  integerOption,
  type JobOptions,
  jobOptions,
  option,
  reconnectOption,
} from "../command.ts";
import { call } from "../sql-call.ts";
import type { DownloadOptions } from "./snapshot-download.ts";

interface FetchOptions extends JobOptions {
  readonly from: string;
  readonly output: string;
  readonly parallel?: string;
  readonly maxRate?: string;
}

/** What copies a snapshot to another machine. */
export function addFetch(snapshot: Command): void {
  addCommand<FetchOptions>(snapshot, {
    usage: "fetch <snapshot>",
    description:
      "copy a snapshot from another server into a directory on this one; SNAPSHOT is its id or path there",
    examples: [
      "snapshot fetch snap_20261126_120000_1a2b3c4d --from node-b --output /backups/from-b",
      "snapshot fetch /backups/monday --from node-b --output /backups/monday --max-rate 50MB",
    ],
    options: [
      option(
        "--from <node>",
        "where it is: a node, a foreign server or a connection string, as this server reaches it",
      ).makeOptionMandatory(),
      option("-o, --output <path>", "new or empty directory on the server").makeOptionMandatory(),
      integerOption("--parallel <number>", "connections at most, 1 to 64 (default: 2)"),
      option("--max-rate <bytes>", "per second, of all connections: 50MB (default: no limit)"),
      ...jobOptions(),
    ],
    action: async (invocation, options, id = "") => {
      const { startAndFollow } = await import("../job/run-job.ts");
      const session = await invocation.open();
      try {
        const statement = call("start_fetch", {
          ...{ peer: options.from, snapshot: id, output_path: options.output },
          ...{ parallel: options.parallel, max_rate: options.maxRate },
        });
        return await startAndFollow(invocation, session, statement, options);
      } finally {
        await session.end();
      }
    },
  });
}

export function addDownload(snapshot: Command): void {
  addCommand<DownloadOptions>(snapshot, {
    usage: "download <snapshot>",
    description:
      "copy a snapshot from the server into a directory on this machine; SNAPSHOT is its id or path there",
    examples: [
      "snapshot download snap_20261126_120000_1a2b3c4d --output ./monday",
      "snapshot download /backups/monday -o ./monday -c service=shop",
    ],
    options: [
      option(
        "-o, --output <directory>",
        "new or empty, or one of a download that was interrupted",
      ).makeOptionMandatory(),
      integerOption("--parallel <number>", "connections, 1 to 64 (default: 4)"),
      reconnectOption(),
    ],
    action: async (invocation, options, id = "") => {
      const { downloadSnapshot } = await import("./snapshot-download.ts");
      return downloadSnapshot(invocation, options, id);
    },
  });
}

export function addInspect(snapshot: Command): void {
  addCommand<{ readonly contents?: boolean }>(snapshot, {
    usage: "inspect <directory>",
    description: "show what a snapshot on this machine holds; needs no PostgreSQL",
    examples: ["snapshot inspect ./monday", "snapshot inspect ./monday --contents"],
    options: [option("--contents", "list the archive's entries instead of its files")],
    action: async (invocation, { contents }, path = "") => {
      const { inspectSnapshot } = await import("./snapshot-local.ts");
      return inspectSnapshot(invocation, path, contents === true);
    },
  });
}
