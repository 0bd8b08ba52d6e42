import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { createRole } from "../../support/roles.ts";
import { type Server, startServer } from "../../support/server.ts";
import { waitUntil } from "../../support/wait-until.ts";

/*
 * Rows of another node may arrive in our tables, and guards let them pass. Code of a table that is
 * replicated runs in the same worker, and gets no further than anywhere else.
 */
let publisher: Server;
let server: Server;
const app = { database: "app" };

beforeAll(async () => {
  publisher = await startServer({ name: "guards-publisher", identity: "peer" });
  server = await startServer({
    name: "guards-replicated",
    settings: { max_worker_processes: 16 },
  });
  for (const node of [publisher, server]) await node.createDatabase("app", { extension: true });
  await createRole(server, "app", "evil");
  await server.query(
    `grant create on schema public to evil;
     create table outcome (what text, state text); grant insert on outcome to evil;
     select steep_repl.register_node('good', 'good', 'good.example')`,
    [],
    app,
  );
});
afterAll(async () => {
  await server.destroy();
  await publisher.destroy();
});

/** What evil's code tries with our tables, each by itself. */
const attempts = {
  "rewrite a node": "update steep_repl.nodes set host = 'evil.example'",
  "remove a node": "delete from steep_repl.nodes",
  "register a node as a superuser":
    "insert into steep_repl.nodes (node_id, node_name, registered_by, registered_by_oid) values ('planted', 'x', 'postgres', 10)",
  "queue a job as a superuser": `insert into steep_repl.work_queue (id, operation, requested_by, requested_by_oid, system_identifier, database_oid)
     values (4711, 'overlap', 'postgres', 10, '1', 1)`,
  "plant a capture": `insert into steep_repl.schema_fingerprints (node_id, schema_name, table_name, fingerprint, definition, captured_by_oid, system_identifier)
     values ('x', 'x', 'x', 'x', '{}', 10, '1')`,
  "write what workers write": "update steep_repl.snapshots set status = 'complete'",
};

const tryAll = `begin ${Object.entries(attempts)
  .map(
    ([what, sql]) => `begin ${sql}; insert into public.outcome values ('${what}', 'done');
      exception when others then insert into public.outcome values ('${what}', sqlstate); end;`,
  )
  .join("\n")}`;

/** Ways in which a table's owner gets code to run in the worker that applies rows to it. */
const ways: readonly [way: string, ddl: string][] = [
  [
    "a trigger",
    `create function code() returns trigger language plpgsql as $$ ${tryAll} return null; end $$;
     create trigger t after insert on r for each row execute function code();
     alter table r enable always trigger t`,
  ],
  [
    "a trigger before the row",
    `create function code() returns trigger language plpgsql as $$ ${tryAll} return new; end $$;
     create trigger t before insert on r for each row execute function code();
     alter table r enable always trigger t`,
  ],
  [
    "a check",
    `create function code(int) returns boolean language plpgsql as $$ ${tryAll} return true; end $$;
     alter table r add check (code(id)) not valid`,
  ],
  [
    "a default",
    `create function code() returns int language plpgsql as $$ ${tryAll} return 1; end $$;
     alter table r alter extra set default code()`,
  ],
  [
    "an index",
    `create function code() returns int language plpgsql as $$ ${tryAll} return 1; end $$;
     create function immutable(i int) returns int immutable language plpgsql as $$ begin return i * public.code(); end $$;
     create index on r (immutable(id))`,
  ],
];

describe.each(ways)("%s of a replicated table", (_, ddl) => {
  test("meets the same guards in the worker that applies rows", async () => {
    await publisher.query(
      "create table r (id int primary key); create publication p for table r",
      [],
      app,
    );
    const client = await server.connect({ ...app, user: "evil" });
    await client.query(`create table r (id int primary key, extra int); ${ddl}`);
    await client.end();
    await server.query("delete from outcome", [], app);
    await server.query(
      `create subscription s connection '${publisher.uri("app")}' publication p with (copy_data = false)`,
      [],
      app,
    );
    try {
      await publisher.query("insert into r values (1)", [], app);
      await waitUntil(
        () => server.query("select from r", [], app),
        (rows) => rows.length === 1,
        "the row is applied",
      );
      const outcome = await server.query<{ what: string; state: string }>(
        "select what, state from outcome order by what",
        [],
        app,
      );
      expect(Object.fromEntries(outcome.map(({ what, state }) => [what, state]))).toEqual({
        "rewrite a node": "42501",
        "remove a node": "42501",
        // these are allowed to any role with the grants, as itself
        "register a node as a superuser": "done",
        "queue a job as a superuser": "done",
        "plant a capture": "done",
        "write what workers write": "42501",
      });
      expect(
        await server.query(
          `select array(select node_id || ' ' || host from steep_repl.nodes where registered_by = 'postgres') as nodes,
                  array(select distinct requested_by::text from steep_repl.work_queue) as jobs,
                  array(select distinct captured_by::text from steep_repl.schema_fingerprints) as captures`,
          [],
          app,
        ),
      ).toEqual([{ nodes: ["good good.example"], jobs: ["evil"], captures: ["evil"] }]);
    } finally {
      await server.query("drop subscription s", [], app);
      await publisher.query("drop table r; drop publication p", [], app);
      await server.query(
        `drop table r; drop routine code; drop routine if exists immutable; delete from steep_repl.nodes where node_id = 'planted';
         delete from steep_repl.schema_fingerprints`,
        [],
        app,
      );
    }
  });
});
