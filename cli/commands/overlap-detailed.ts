import type { Invocation } from "../invocation.ts";
import { differs } from "../job/outcome.ts";
import type { Result, Session } from "../session.ts";
import { call } from "../sql-call.ts";

/** The counts of a comparison, and of each table that differs its rows, as many as overlap_rows lists. */
export async function printDetailed(
  { output }: Invocation,
  session: Session,
  peer: string,
  counts: Result,
  { primaryKeys }: { readonly primaryKeys?: string },
): Promise<void> {
  const found: Result[] = [];
  for (const { values } of counts.rows) {
    const statement = call("overlap_rows", {
      ...{ peer, table_name: values.table_name, primary_keys: primaryKeys },
    });
    const { sql, params } = statement;
    found.push(differs(values) ? await session.query(sql, params) : { columns: [], rows: [] });
  }
  if (output.isJson) {
    // of an object that PostgreSQL has written, with one member more
    const rows = counts.rows.map(({ values, json }, i) => {
      const inner = found[i]?.rows.map((row) => row.json).join(",") ?? "";
      return { values, json: `${json.slice(0, json.lastIndexOf("}"))},"rows":[${inner}]}` };
    });
    await output.rows({ ...counts, rows });
    return;
  }
  await output.rows(counts);
  for (const [i, { values }] of counts.rows.entries()) {
    const rows = found[i];
    if (rows === undefined || rows.rows.length === 0) continue;
    output.line(`\n${values.table_name}`);
    await output.rows(rows);
  }
}
