import type { PublicFunction, Returns } from "../api/public-function.ts";

type Columns = readonly (readonly [name: string, type: string])[];

function columnList(columns: Columns): string {
  return columns.map(([name, type]) => `${name} ${type}`).join(", ");
}

function returnType(returns: Returns): string {
  switch (returns.kind) {
    case "row":
      return `steep_repl.${returns.table}`;
    case "record":
      return `table (${columnList(returns.columns)})`;
    case "rows":
      return returns.type === undefined
        ? `table (${columnList(returns.columns)})`
        : `setof steep_repl.${returns.type}`;
    case "jsonb":
      return "jsonb";
  }
}

/** PL/pgSQL statements that turn the answer, in variable `answer`, into the result. */
function resultStatements(returns: Returns): string {
  switch (returns.kind) {
    case "row":
      return `  select r.* into result from steep_repl.${returns.table} r where r.${returns.key} = answer ->> '${returns.key}';
  return result;`;
    case "record":
      return `  return query select r.* from jsonb_to_record(answer) as r(${columnList(returns.columns)});`;
    case "rows":
      return `  return query select r.* from jsonb_to_recordset(answer) as r(${columnList(returns.columns)});`;
    case "jsonb":
      return "  return answer;";
  }
}

/**
 * CREATE FUNCTION for a public function: a typed wrapper that turns arguments
 * into jsonb, calls TypeScript, and turns the answer into the result. A role
 * that has row_security off must be able to read the row of its own job, too.
 */
export function functionSql(fn: PublicFunction): string {
  const args = fn.args.map(
    (a) => `  ${a.name} ${a.type}${a.default === undefined ? "" : ` default ${a.default}`}`,
  );
  const members = fn.args.map((a) => `'${a.name}', ${fn.name}.${a.name}`).join(", ");
  const resultVariable =
    fn.returns.kind === "row" ? `\n  result steep_repl.${fn.returns.table};` : "";
  const type =
    fn.returns.kind === "rows" && fn.returns.type !== undefined
      ? `create type steep_repl.${fn.returns.type} as (${columnList(fn.returns.columns)});\n`
      : "";
  return `${type}create function steep_repl.${fn.name}(${args.length > 0 ? `\n${args.join(",\n")}` : ""})
returns ${returnType(fn.returns)}
language plpgsql ${fn.volatility} parallel unsafe set search_path = pg_catalog, pg_temp set row_security = on as $fn$
#variable_conflict use_column
declare
  answer jsonb;${resultVariable}
begin
  answer := steep_repl._call('${fn.name}', jsonb_build_object(${members}));
${resultStatements(fn.returns)}
end
$fn$;
`;
}
