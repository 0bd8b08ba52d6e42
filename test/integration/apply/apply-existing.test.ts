import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { applySnapshot, retryApply, runApply } from "../../support/apply.ts";
import { expectNoLeaks } from "../../support/leaks.ts";
import { untilLogged } from "../../support/log.ts";
import { createRole, grantRole } from "../../support/roles.ts";
import { type Server, startServer } from "../../support/server.ts";
import { digests, freshPath, takeSnapshot } from "../../support/snapshots.ts";

/*
 * Section data into tables that are there already, as the role that the manual describes: it may
 * INSERT into them and nothing else.
 */

const source = { database: "source" };
const target = { database: "target" };
const asLoader = { ...target, user: "loader" };
let server: Server;
let path: string;

// Triggers that tell whether they fired; foreign keys in an order that names do not tell.
const schema = `
  create table a_line (id int generated always as identity primary key, n int, doubled int generated always as (n * 2) stored);
  create table z_customer (id serial primary key, name text not null);
  create table a_order (id bigint primary key, customer int not null references z_customer, total numeric(10, 2) default 1);
  alter table a_line add column "order" bigint references a_order deferrable initially deferred;
  create table tree (id int primary key, parent int references tree);
  create table fired (what text);
  create function fire() returns trigger language plpgsql as $$ begin insert into public.fired values (tg_table_name); return new; end $$;
  create trigger fire before insert on z_customer for each row execute function fire();
  create table part (id int, v text) partition by list (id);
  create table part_1 partition of part for values in (1);
  create table part_2 partition of part for values in (2)`;

const rows = `
  insert into z_customer (name) select 'c' || g from generate_series(1, 100) g;
  insert into a_order select g, 1 + g % 100, g / 7.0 from generate_series(1, 20000) g;
  insert into a_line (n, "order") select g, 1 + g % 20000 from generate_series(1, 100000) g;
  insert into tree select g, nullif(g / 2, 0) from generate_series(1, 1000) g;
  insert into part select 1 + g % 2, 'v' || g from generate_series(1, 100) g;
  truncate fired`;

beforeAll(async () => {
  server = await startServer({ name: "apply-existing", settings: { max_worker_processes: 16 } });
  await server.createDatabase("source", { extension: true });
  await server.query(`${schema};${rows}`, [], source);
  await createRole(server, "source", "loader", "login replication");
  path = freshPath(server);
  await takeSnapshot(server, { ...source, user: "loader", path });
  await server.query("drop owned by loader", [], source);
});
afterAll(() => server.destroy());
beforeEach(async () => {
  await server.createDatabase("target", { extension: true });
  await server.query(schema, [], target);
  await grantRole(server, "target", "loader");
  await server.query("revoke select on all tables in schema public from loader", [], target);
  await server.query("grant insert on all tables in schema public to loader", [], target);
});
afterEach(async () => {
  await server.query("drop database target");
  await expectNoLeaks(server, { files: [path.split("/").at(-1) ?? ""] });
});

const dataOnly = "sections => '{data}', parallel => 3";
const nextCustomer = "select nextval('z_customer_id_seq')::int as next";

/** What the tables should hold; `fired` shows whether triggers fired. */
async function expected(): Promise<Record<string, string>> {
  const { "public.fired": _, ...tables } = await digests(server, "source");
  return tables;
}

async function actual(): Promise<Record<string, string>> {
  const { "public.fired": _, ...tables } = await digests(server, "target");
  return tables;
}

async function firedTriggers(): Promise<number> {
  const [row] = await server.query("select count(*)::int as n from fired", [], target);
  return Number(row?.n);
}

describe("with INSERT alone", () => {
  test("all rows arrive, parents before children", async () => {
    const row = await applySnapshot(server, path, { ...asLoader, args: dataOnly });
    expect(await actual()).toEqual(await expected());
    expect(row.rows_written).toBe("121200");
  });

  test("what the role could not do is said with its grant", async () => {
    const row = await applySnapshot(server, path, { ...asLoader, args: dataOnly });
    expect(row.warnings).toEqual([
      expect.stringMatching(
        /GRANT UPDATE ON SEQUENCE name TO loader\): public.a_line_id_seq, public.z_customer_id_seq/,
      ),
      expect.stringMatching(/GRANT SET ON PARAMETER session_replication_role TO loader/),
    ]);
    expect(await server.query(nextCustomer, [], target)).toEqual([{ next: 1 }]);
    // fired for each customer, and loaded itself
    expect(await firedTriggers()).toBe(100);
    expect(await server.log()).toContain("GRANT UPDATE ON SEQUENCE");
  });

  test("a circle of foreign keys is refused before anything is loaded, with the grant", async () => {
    await server.query(
      `alter table z_customer add column latest bigint references a_order;
       alter table z_customer drop column latest, add foreign key (id) references a_order (id) not valid`,
      [],
      target,
    );
    const row = await runApply(server, path, { ...asLoader, args: dataOnly });
    expect(row).toMatchObject({ status: "failed", error_sqlstate: "42501", phase: "planning" });
    expect(row.error_message).toMatch(/circle.*public.a_order, public.z_customer/);
    expect(row.error_hint).toContain("GRANT SET ON PARAMETER session_replication_role TO loader");
    expect(await firedTriggers()).toBe(0);
  });

  test("a missing right on one table is named before anything is loaded", async () => {
    await server.query("revoke insert on a_order, part_2 from loader", [], target);
    const row = await runApply(server, path, { ...asLoader, args: dataOnly });
    expect(row).toMatchObject({ status: "failed", error_sqlstate: "42501" });
    expect(row.error_message).toBe(
      "permission denied to load tables: public.a_order, public.part_2",
    );
    expect(row.error_hint).toContain("GRANT INSERT ON them TO loader");
    expect(await firedTriggers()).toBe(0);
  });

  test("a trigger that leaves rows out stops the load, which says so; without it, it goes on", async () => {
    await server.query(
      `create function leave_out() returns trigger language plpgsql as $$ begin
         return case when new.id <> 999 then new end; end $$;
       create trigger leave_out before insert on tree for each row execute function leave_out()`,
      [],
      target,
    );
    const row = await runApply(server, path, { ...asLoader, args: dataOnly });
    expect(row).toMatchObject({ status: "failed", error_sqlstate: "09000", phase: "data" });
    expect(row.error_message).toBe(
      "triggers left out rows of table public.tree: 999 of 1000 rows would have been loaded.",
    );
    expect(row.error_hint).toContain("Disable those triggers, or GRANT SET ON PARAMETER");
    await server.query("alter table tree disable trigger leave_out", [], target);
    expect(await retryApply(server, row, asLoader)).toMatchObject({
      ...{ error_message: null, status: "complete" },
    });
    expect(await actual()).toEqual(await expected());
  });

  test("INSERT on the columns suffices", async () => {
    await server.query(
      'revoke insert on a_line from loader; grant insert (id, n, "order") on a_line to loader',
      [],
      target,
    );
    await applySnapshot(server, path, { ...asLoader, args: dataOnly });
    expect(await actual()).toEqual(await expected());
  });

  test("TRUNCATE without the right is refused", async () => {
    const row = await runApply(server, path, {
      ...asLoader,
      args: `${dataOnly}, truncate => true`,
    });
    expect(row).toMatchObject({ status: "failed", error_sqlstate: "42501" });
    expect(row.error_message).toContain("permission denied to truncate tables: public.a_line");
    expect(row.error_hint).toContain("GRANT TRUNCATE");
  });

  test("row security is refused", async () => {
    await server.query("alter table part_1 enable row level security", [], target);
    const row = await runApply(server, path, { ...asLoader, args: dataOnly });
    expect(row).toMatchObject({ status: "failed", error_sqlstate: "0A000" });
    expect(row.error_message).toContain("public.part_1");
  });
});

describe("with the right to set session_replication_role", () => {
  beforeEach(() =>
    server.query("grant set on parameter session_replication_role to loader", [], target),
  );
  afterEach(() =>
    server.query("revoke set on parameter session_replication_role from loader", [], target),
  );

  test("triggers do not fire, and the order of foreign keys does not matter", async () => {
    await server.query(
      "alter table z_customer add foreign key (id) references a_order (id) not valid",
      [],
      target,
    );
    const row = await applySnapshot(server, path, { ...asLoader, args: dataOnly });
    expect(await actual()).toEqual(await expected());
    expect(await firedTriggers()).toBe(0);
    expect(row.warnings?.join()).not.toContain("session_replication_role");
  });

  test("what an operator of a foreign key sets, while it is checked, does not reach the rest", async () => {
    await server.query(
      `grant select on all tables in schema public to loader;
       create function meddle(numeric, int) returns boolean immutable language plpgsql as $$ begin
         perform pg_catalog.set_config('default_transaction_read_only', 'on', false);
         return $1 = $2::pg_catalog.numeric; end $$;
       create function compare(numeric, int) returns int immutable language sql
         as 'select pg_catalog.numeric_cmp($1, $2::pg_catalog.numeric)';
       create operator public.= (leftarg = numeric, rightarg = int, function = meddle);
       alter operator family numeric_ops using btree add operator 3 public.= (numeric, int),
         function 1 (numeric, int) compare(numeric, int), operator 3 pg_catalog.= (int, int),
         function 1 (int, int) btint4cmp(int, int);
       alter table a_order drop constraint a_order_customer_fkey;
       alter table z_customer alter id drop default, alter id type numeric;
       alter table a_order add foreign key (customer) references z_customer`,
      [],
      target,
    );
    const row = await applySnapshot(server, path, { ...asLoader, args: dataOnly });
    expect(row.rows_written).toBe("121200");
  });

  test("foreign keys are checked at the end, and one that is violated is named", async () => {
    await server.query("grant select on all tables in schema public to loader", [], target);
    const row = await runApply(server, path, {
      ...asLoader,
      args: `${dataOnly}, tables => '{public.a_order}'`,
    });
    expect(row).toMatchObject({ status: "failed", error_sqlstate: "23503", phase: "finalizing" });
    expect(row.error_message).toContain("a_order_customer_fkey of table public.a_order");
  });
});

describe("as the owner", () => {
  test("sequences are set", async () => {
    const row = await applySnapshot(server, path, { ...target, args: dataOnly });
    expect(row.warnings).toBeNull();
    expect(await server.query(nextCustomer, [], target)).toEqual([{ next: 101 }]);
  });

  test("a table that has rows is refused, and truncate empties it first", async () => {
    await server.query("insert into z_customer (id, name) values (-1, 'other')", [], target);
    const row = await runApply(server, path, { ...target, args: dataOnly });
    expect(row).toMatchObject({ status: "failed", error_sqlstate: "55000", phase: "planning" });
    // the trigger has filled another one
    expect(row.error_message).toBe(
      "2 tables to be loaded are not empty: public.z_customer, public.fired",
    );
    expect(row.error_hint).toContain("truncate => true");
    await applySnapshot(server, path, { ...target, args: `${dataOnly}, truncate => true` });
    expect(await actual()).toEqual(await expected());
  });

  test("a table that is not there is named before anything is loaded", async () => {
    await server.query(
      "drop table tree; alter table part detach partition part_2; drop table part_2",
      [],
      target,
    );
    const row = await runApply(server, path, { ...target, args: dataOnly });
    expect(row).toMatchObject({ status: "failed", error_sqlstate: "42P01" });
    expect(row.error_message).toBe("tables to be loaded do not exist: public.part_2, public.tree");
  });

  test("a row that does not fit names table, frame and line, and leaves the frame out", async () => {
    await server.query("alter table a_order add check (id <> 7)", [], target);
    const row = await runApply(server, path, { ...target, args: dataOnly });
    expect(row).toMatchObject({ status: "failed", error_sqlstate: "23514", phase: "data" });
    expect(row.error_message).toContain("a_order_id_check");
    await untilLogged(server, /COPY a_order, line 7: "7\t8\t1.00/);
    await untilLogged(
      server,
      /loading table public.a_order, line 7 of the frame at offset 0 of file "\d+\.dat\.zst"/,
    );
    expect(await server.query("select count(*)::int as n from a_order", [], target)).toEqual([
      { n: 0 },
    ]);
    // the cause mended, the same job goes on
    await server.query("alter table a_order drop constraint a_order_id_check", [], target);
    await server.query("select steep_repl.retry_operation($1)", [row.operation_id], target);
    await server.query("select steep_repl.wait_operation($1)", [row.operation_id], target);
    expect(await actual()).toEqual(await expected());
  });
});
