import { type ExitCode, exitCode, usageError } from "../cli-error.ts";
import type { CommonOptions, Invocation } from "../invocation.ts";
import type { Remote } from "../remote/client.ts";
import type { Fingerprint } from "../remote/fingerprints.ts";
import type { Result, Session } from "../session.ts";
import { unquote } from "../split-names.ts";
import { call } from "../sql-call.ts";

export interface CompareFlags {
  readonly differing?: boolean;
  readonly schemas?: readonly string[];
  readonly connA?: string;
  readonly connB?: string;
  readonly remoteA?: string;
  readonly remoteB?: string;
}

type Options = CompareFlags & CommonOptions;

/** 1 where not every table matches. */
export function exitOf({ rows }: Result): ExitCode {
  return rows.every(({ values }) => values.status === "match")
    ? exitCode.success
    : exitCode.differs;
}

/** Compare the definitions of two nodes, each reached as the flags say. */
export async function compareSchemas(
  invocation: Invocation,
  options: Options,
  local: string,
  peer: string,
): Promise<ExitCode> {
  const { connA, connB, remoteA, remoteB } = options;
  if (
    (connA !== undefined && remoteA !== undefined) ||
    (connB !== undefined && remoteB !== undefined)
  ) {
    throw usageError("a node is reached by --conn or by --remote, not by both", "give one of them");
  }
  if (connA !== undefined) invocation.connectTo(connA);
  if (remoteA !== undefined || remoteB !== undefined) {
    return printComparison(invocation, options, await compareEnds(invocation, options));
  }
  return invocation.withSession(async (session) => {
    const peerNode = connB ?? peer;
    const result =
      connA === undefined
        ? await comparison(session, local, peerNode)
        : await asNode(session, (node) => comparison(session, node, peerNode));
    return printComparison(invocation, options, result);
  });
}

/** Print what a comparison found, of the schemas that are wanted. */
export async function printComparison(
  { output }: Invocation,
  { differing, schemas }: CompareFlags,
  result: Result,
): Promise<ExitCode> {
  const wanted = schemas?.map(unquote);
  const all = result.rows.filter(
    ({ values }) => wanted?.includes(values.schema_name ?? "") ?? true,
  );
  const rows = all.filter(({ values }) => !differing || values.status !== "match");
  await output.rows({ ...result, rows }, (column, value) =>
    // as much as tells them apart
    column.endsWith("_fingerprint") ? value.slice(0, 12) : undefined,
  );
  return exitOf({ ...result, rows: all });
}

function comparison(session: Session, local: string, peer: string): Promise<Result> {
  const { sql, params } = call("compare_fingerprints", { local_node: local, peer_node: peer });
  return session.query(sql, params);
}

/** Call functions that want this database's node, which need not be registered: its entry is taken back. */
async function asNode<T>(session: Session, action: (node: string) => Promise<T>): Promise<T> {
  const node = `steep-repl-${process.pid}-${Date.now()}`;
  await session.client.query("begin");
  try {
    const { sql, params } = call("register_node", { node_id: node, node_name: node });
    await session.query(sql, params);
    return await action(node);
  } finally {
    // of a lost connection, the statement has said so
    await session.client.query("rollback").catch(() => {});
  }
}

/** Each side by itself: a daemon's answer, or a session's. */
async function compareEnds(invocation: Invocation, options: Options): Promise<Result> {
  const { comparisonOf } = await import("../remote/fingerprints.ts");
  const here = await fingerprintsOf(invocation, options, "--remote-a", options.remoteA);
  const { connB, remoteB } = options;
  if (connB === undefined && remoteB === undefined) {
    throw usageError("how the second node is reached is missing", "give --conn-b or --remote-b");
  }
  const there =
    connB === undefined
      ? await fingerprintsOf(invocation, options, "--remote-b", remoteB)
      : await fingerprintsOf(invocation.at(connB), options, "--conn-b", undefined);
  return comparisonOf(here, there);
}

async function fingerprintsOf(
  invocation: Invocation,
  { schemas }: Options,
  flag: string,
  daemon: string | undefined,
): Promise<readonly Fingerprint[]> {
  if (daemon === undefined) return invocation.withSession(capturedHere);
  const [{ openNamed }, { remoteFingerprints }] = await Promise.all([
    import("../remote/choose.ts"),
    import("../remote/schemas.ts"),
  ]);
  const remote: Remote = openNamed(invocation, flag, daemon);
  try {
    return await remoteFingerprints(remote, schemas?.map(unquote) ?? []);
  } finally {
    await remote.close();
  }
}

/** Of this database, captured and taken back. */
function capturedHere(session: Session): Promise<readonly Fingerprint[]> {
  return asNode(session, async (node) => {
    const { sql, params } = call("capture_fingerprints", { node_id: node });
    await session.query(sql, params);
    const { rows } = await session.query(
      "select schema_name, table_name, fingerprint from steep_repl.schema_fingerprints where node_id = $1",
      [node],
    );
    return rows.map(({ values }) => ({
      schema: values.schema_name ?? "",
      table: values.table_name ?? "",
      digest: values.fingerprint ?? "",
    }));
  });
}
