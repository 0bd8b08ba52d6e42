import { afterAll, beforeAll, expect, test } from "vitest";
import { createRole } from "../../support/roles.ts";
import { type Server, startServer } from "../../support/server.ts";
import { takeSnapshot } from "../../support/snapshots.ts";
import { waitUntil } from "../../support/wait-until.ts";

/*
 * Any role can LISTEN: what a job says there must not tell what its role alone may read, such as the
 * value of a row that a constraint refuses.
 */
let server: Server;
const app = { database: "app" };
const secret = "4711-secret-value";

beforeAll(async () => {
  server = await startServer({
    name: "notifications",
    settings: { max_worker_processes: 16, "steep_repl.notify_table_names": "off" },
  });
  for (const name of ["app", "other"]) {
    await server.createDatabase(name, { extension: true });
    await server.query("create table hidden (id int, v text)", [], { database: name });
  }
  await createRole(server, "app", "limited");
  await server.query(
    `revoke select on hidden from limited; insert into hidden values (1, '${secret}'), (1, '${secret}');
     create role nobody login;
     select steep_repl.register_node('other', 'other', '127.0.0.1', ${server.port}, dbname => 'other', username => 'postgres')`,
    [],
    app,
  );
});
afterAll(() => server.destroy());

/** What a role without any right hears of a job that fails, and what the job's row says. */
async function failed(start: string, user = "postgres"): Promise<{ heard: string[]; row: string }> {
  const listener = await server.connect({ ...app, user: "nobody" });
  const heard: string[] = [];
  listener.on("notification", (n) => heard.push(n.payload ?? ""));
  await listener.query("listen steep_repl_progress");
  const [started] = await server.query<{ id: string }>(
    `select (steep_repl.${start}).operation_id as id`,
    [],
    { ...app, user },
  );
  await waitUntil(
    () => listener.query("select 1").then(() => heard.at(-1)),
    (payload) => payload?.includes('"status"') === true,
    "the end is heard",
  );
  await listener.end();
  const [row] = await server.query<{ message: string }>(
    "select error_message as message from steep_repl.work_queue where id = $1 and status = 'failed'",
    [started?.id],
    app,
  );
  return { heard, row: row?.message ?? "" };
}

test.each<
  [what: string, sqlstate: string, told: string, start: () => Promise<string>, user?: string]
>([
  [
    "a row that a constraint refuses",
    "23514",
    secret,
    async () => {
      const { storage_path } = await takeSnapshot(server, app);
      await server.query(
        "alter table hidden add constraint c check (v is null) not valid; delete from hidden",
        [],
        app,
      );
      return `start_apply('${storage_path}', sections => '{data}')`;
    },
  ],
  [
    "a table that may not be read",
    "42501",
    "hidden",
    async () => `start_snapshot('${server.snapshotDir}/no', tables => '{public.hidden}')`,
    "limited",
  ],
  [
    "columns that do not identify rows",
    "23505",
    "hidden",
    async () => {
      await server.query(
        "delete from hidden; alter table hidden drop constraint if exists c",
        [],
        app,
      );
      await server.query("insert into hidden values (1, 'a'), (1, 'b')", [], app);
      return `start_overlap('other', '{public.hidden}', '{"public.hidden": ["id"]}')`;
    },
  ],
  [
    "a table without a key",
    "55000",
    "hidden",
    async () => "start_merge('other', '{public.hidden}')",
  ],
])("of %s, listeners hear the SQLSTATE only", async (_, sqlstate, told, start, user) => {
  const { heard, row } = await failed(await start(), user);
  expect(row).toContain(told);
  for (const payload of heard) expect(payload).not.toContain(told);
  expect(JSON.parse(heard.at(-1) ?? "")).toMatchObject({
    status: "failed",
    sqlstate,
    error: "the job has failed; its row says why",
  });
});
