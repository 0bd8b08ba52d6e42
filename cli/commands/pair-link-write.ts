import pg from "pg";
import { copyRow } from "../connection/copy-in.ts";
import type { Side } from "./pair-link-facts.ts";

/** What one side lacks to reach the other. */
export interface Missing {
  readonly side: Side;
  readonly node: string;
  readonly server: string;
  readonly extension: boolean;
  /** options of a foreign server that is to be made */
  readonly options: Readonly<Record<string, string>> | null;
  readonly mapping: { readonly user: string; readonly password: string | undefined } | null;
  readonly registration: "new" | "changed" | null;
}

export function isComplete({ extension, options, mapping, registration }: Missing): boolean {
  return !extension && options === null && mapping === null && registration === null;
}

const { escapeIdentifier, escapeLiteral } = pg;

/** The statements, as they may be shown: the password is not in them. */
export function statementsOf(missing: Missing): readonly string[] {
  const { mapping, server } = missing;
  const password = mapping?.password === undefined ? "" : ", password '****'";
  return [
    ...plainBefore(missing),
    ...(mapping === null
      ? []
      : [
          `create user mapping for current_user server ${escapeIdentifier(server)} options (user ${escapeLiteral(mapping.user)}${password})`,
        ]),
    ...plainAfter(missing),
  ];
}

function plainBefore({ extension, options, server }: Missing): readonly string[] {
  const list = Object.entries(options ?? {})
    .map(([name, value]) => `${name} ${escapeLiteral(value)}`)
    .join(", ");
  return [
    // in this session's search_path there is no schema that it could be in
    ...(extension
      ? [
          "create extension if not exists dblink schema public",
          "create extension if not exists steep_repl cascade",
        ]
      : []),
    ...(options === null
      ? []
      : [
          `create server ${escapeIdentifier(server)} foreign data wrapper dblink_fdw options (${list})`,
        ]),
  ];
}

function plainAfter({ registration, node, server }: Missing): readonly string[] {
  if (registration === null) return [];
  const name = registration === "new" ? escapeLiteral(node) : "null";
  return [
    `select node_id from steep_repl.register_node(${escapeLiteral(node)}, ${name}, foreign_server => ${escapeLiteral(server)})`,
  ];
}

/*
 * The password is data of a COPY, which neither log_statement nor pg_stat_activity show, and the statement that has it is run by a block
 * whose text is constant. What fails in there is raised anew, since PostgreSQL's own message would quote that statement.
 */
const secretTable =
  "create temporary table steep_repl_mapping (server text, username text, password text) on commit drop";
const secretCopy = "copy pg_temp.steep_repl_mapping from stdin";
const secretMapping = `do $block$
declare
  state text;
  why text;
begin
  if current_setting('is_superuser') = 'on' then
    perform set_config('pg_stat_statements.track', 'none', true);
  end if;
  execute (select format('create user mapping for current_user server %I options (user %L%s)', m.server, m.username,
                         case when m.password is not null then format(', password %L', m.password) end) from pg_temp.steep_repl_mapping m);
exception when query_canceled or others then
  get stacked diagnostics state = returned_sqlstate, why = message_text;
  raise exception using errcode = state, message = why;
end
$block$`;

/** Make it all, or nothing of it. */
export async function makeMissing(missing: Missing): Promise<void> {
  const { client } = missing.side;
  await client.query("begin");
  try {
    for (const sql of plainBefore(missing)) await client.query(sql);
    if (missing.mapping !== null) {
      const { user, password = null } = missing.mapping;
      await client.query(secretTable);
      await copyRow(client, secretCopy, [missing.server, user, password]);
      await client.query(secretMapping);
    }
    for (const sql of plainAfter(missing)) await client.query(sql);
    await client.query("commit");
  } catch (error) {
    // of a lost connection, the statement has said so
    await client.query("rollback").catch(() => {});
    throw error;
  }
}
