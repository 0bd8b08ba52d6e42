import { create, type MessageInitShape } from "@bufbuild/protobuf";
import type { ServiceImpl } from "@connectrpc/connect";
import {
  CaptureFingerprintsResponseSchema,
  type ColumnDifferenceSchema,
  CompareSchemasResponseSchema,
  ComparisonStatus,
  GetColumnDiffResponseSchema,
  GetSchemaFingerprintsResponseSchema,
  type InitService,
  type SchemaComparisonSchema,
  type TableFingerprintSchema,
} from "../rpc/generated/steep_repl_pb.ts";
import type { Session } from "../session.ts";
import { isFailure, requireFields, textOf, toConnectError } from "./errors.ts";
import type { Sessions } from "./sessions.ts";
import { intValue, textValue } from "./values.ts";

const statuses: Readonly<Record<string, ComparisonStatus>> = {
  match: ComparisonStatus.MATCH,
  mismatch: ComparisonStatus.MISMATCH,
  local_only: ComparisonStatus.LOCAL_ONLY,
  peer_only: ComparisonStatus.REMOTE_ONLY,
};

/** Thousands of tables, on both sides. */
const comparingMs = 600_000;

type SchemaRpcs = Pick<
  ServiceImpl<typeof InitService>,
  "compareSchemas" | "getSchemaFingerprints" | "getColumnDiff" | "captureFingerprints"
>;

const isWanted = (schemas: readonly string[], schema: string | null | undefined) =>
  schemas.length === 0 || schemas.includes(textValue(schema));

/** The node that this server is registered as; the functions want its name. */
async function localNode(session: Session): Promise<string> {
  const { rows } = await session.query(
    "select node_id from steep_repl.node_status() where is_local",
  );
  const id = rows[0]?.values.node_id;
  if (!id)
    throw Object.assign(new Error("this server is not registered as a node"), {
      severity: "ERROR",
      code: "55000",
      hint: "call RegisterNode, or steep_repl.register_node() there",
    });
  return id;
}

/** How the columns of a table differ, by schema_diff. */
async function columnDifferences(
  session: Session,
  local: string,
  peer: string,
  table: readonly [schema: string, name: string],
): Promise<MessageInitShape<typeof ColumnDifferenceSchema>[]> {
  const { rows } = await session.query(
    `select d.* from steep_repl.schema_diff($1, $2, pg_catalog.format('%I.%I', $3::text, $4::text)) d
     where d.object_type = 'column'`,
    [local, peer, ...table],
  );
  return rows.map(({ values }) => ({
    columnName: textValue(values.object_name),
    differenceType: textValue(values.status),
    localDefinition: textValue(values.local_definition),
    remoteDefinition: textValue(values.peer_definition),
  }));
}

/** The fingerprints of the last capture of a node. */
async function lastCapture(
  session: Session,
  node: string,
  schemas: readonly string[],
): Promise<MessageInitShape<typeof TableFingerprintSchema>[]> {
  const { rows } = await session.query(
    `select f.schema_name, f.table_name, f.fingerprint, f.definition
     from steep_repl.schema_fingerprints f
     where f.node_id = $1 and f.captured_at = (
       select max(l.captured_at) from steep_repl.schema_fingerprints l where l.node_id = $1)
     order by 1, 2`,
    [node],
  );
  return rows
    .filter(({ values }) => isWanted(schemas, values.schema_name))
    .map(({ values }) => ({
      schemaName: textValue(values.schema_name),
      tableName: textValue(values.table_name),
      fingerprint: textValue(values.fingerprint),
      columnDefinitions: textValue(values.definition),
    }));
}

/** The RPCs that compare definitions. A failure is in the answer. */
export function schemas(sessions: Sessions): SchemaRpcs {
  const answer = async <T>(
    action: (session: Session) => Promise<T>,
    failure: (failed: { success: boolean; error: string }) => T,
  ): Promise<T> => {
    try {
      return await sessions.use(action, comparingMs);
    } catch (error) {
      if (!isFailure(error)) throw toConnectError(error);
      return failure({ success: false, error: textOf(error) });
    }
  };
  return {
    compareSchemas: ({ localNodeId, remoteNodeId, schemas: wanted }) => {
      requireFields({ local_node_id: localNodeId, remote_node_id: remoteNodeId });
      return answer(
        async (session) => {
          const { rows } = await session.query(
            "select f.* from steep_repl.compare_fingerprints($1, $2) f",
            [localNodeId, remoteNodeId],
          );
          const comparisons: MessageInitShape<typeof SchemaComparisonSchema>[] = [];
          for (const { values } of rows.filter((r) => isWanted(wanted, r.values.schema_name))) {
            const table = [textValue(values.schema_name), textValue(values.table_name)] as const;
            comparisons.push({
              tableSchema: table[0],
              tableName: table[1],
              localFingerprint: textValue(values.local_fingerprint),
              remoteFingerprint: textValue(values.peer_fingerprint),
              status: statuses[textValue(values.status)] ?? ComparisonStatus.UNSPECIFIED,
              differences:
                values.status === "mismatch"
                  ? await columnDifferences(session, localNodeId, remoteNodeId, table)
                  : [],
            });
          }
          const count = (status: ComparisonStatus) =>
            comparisons.filter((c) => c.status === status).length;
          return create(CompareSchemasResponseSchema, {
            success: true,
            comparisons,
            matchCount: count(ComparisonStatus.MATCH),
            mismatchCount: count(ComparisonStatus.MISMATCH),
            localOnlyCount: count(ComparisonStatus.LOCAL_ONLY),
            remoteOnlyCount: count(ComparisonStatus.REMOTE_ONLY),
          });
        },
        (failed) => create(CompareSchemasResponseSchema, failed),
      );
    },

    // captured, read and forgotten: asking leaves nothing behind
    getSchemaFingerprints: ({ schemas: wanted }) =>
      answer(
        async (session) => {
          await session.client.query("begin");
          try {
            const node = await localNode(session);
            await session.query("select steep_repl.capture_fingerprints($1) as n", [node]);
            const fingerprints = await lastCapture(session, node, wanted);
            return create(GetSchemaFingerprintsResponseSchema, { success: true, fingerprints });
          } finally {
            await session.client.query("rollback").catch(() => {});
          }
        },
        (failed) => create(GetSchemaFingerprintsResponseSchema, failed),
      ),

    getColumnDiff: ({ peerNodeId, tableSchema, tableName }) => {
      requireFields({
        peer_node_id: peerNodeId,
        table_schema: tableSchema,
        table_name: tableName,
      });
      return answer(
        async (session) =>
          create(GetColumnDiffResponseSchema, {
            success: true,
            differences: await columnDifferences(session, await localNode(session), peerNodeId, [
              tableSchema,
              tableName,
            ]),
          }),
        (failed) => create(GetColumnDiffResponseSchema, failed),
      );
    },

    captureFingerprints: ({ nodeId, schemas: wanted }) => {
      requireFields({ node_id: nodeId });
      return answer(
        async (session) => {
          const row = await session.row("select steep_repl.capture_fingerprints($1) as n", [
            nodeId,
          ]);
          return create(CaptureFingerprintsResponseSchema, {
            success: true,
            tableCount: intValue(row.values.n),
            fingerprints: await lastCapture(session, nodeId, wanted),
          });
        },
        (failed) => create(CaptureFingerprintsResponseSchema, failed),
      );
    },
  };
}
