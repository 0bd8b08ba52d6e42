import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from "vitest";
import { type ApplyRow, applySnapshot, endOfApply, startApply } from "../support/apply.ts";
import { killSomething } from "../support/kill-something.ts";
import { expectNoLeaks } from "../support/leaks.ts";
import { createRandom } from "../support/random.ts";
import { type Server, startServer } from "../support/server.ts";
import { digests, freshPath, takeSnapshot } from "../support/snapshots.ts";
import { waitUntil } from "../support/wait-until.ts";

const source = { database: "source" };
const target = { database: "target" };
const random = createRandom();
let server: Server;
let path: string;
let expected: Expected;
let typicalMs: number;

// Small tables, a large one of many frames, indexes, foreign keys (one of them a circle), sequences, partitions whose rows belong
// into others of another database, large objects (one of several frames).
const schema = `
  create table parent (id bigint generated always as identity primary key, v text not null);
  insert into parent (v) select md5(g::text) from generate_series(1, 20000) g;
  create table large (id serial primary key, parent bigint not null references parent, filler text);
  insert into large (parent, filler)
    select 1 + g % 20000, (select string_agg(md5(g::text || h), '') from generate_series(1, 6) h)
    from generate_series(1, 200000) g;
  create table tree (id int primary key, up int references tree deferrable initially deferred);
  insert into tree select g, 1 + g * 7 % 5000 from generate_series(1, 5000) g;
  do $$ begin
    for i in 1..20 loop
      execute format('create table t_%s (id int primary key, parent bigint references parent, v text)', i);
      execute format('insert into t_%s select g, g, ''v'' || g from generate_series(1, 1000) g', i);
      execute format('create index on t_%s (v)', i);
    end loop;
  end $$;
  create index on large (parent); create index on large (md5(filler)); create unique index on parent (v);
  create type mood as enum ('a', 'b', 'c', 'd', 'e', 'f', 'g', 'h', 'i', 'j', 'k', 'l');
  create table moving (m mood, n int) partition by hash (m);
  create table moving_0 partition of moving for values with (modulus 2, remainder 0);
  create table moving_1 partition of moving for values with (modulus 2, remainder 1);
  insert into moving select m, n from unnest(enum_range(null::mood)) m, generate_series(1, 5000) n;
  select lo_from_bytea(100000 + n, n::text::bytea) from generate_series(1, 3000) n;
  select lo_from_bytea(200000, (select string_agg(sha512(n::text::bytea), '') from generate_series(1, 500000) n));
  comment on large object 200000 is 'large'; grant select on large object 100001 to public;
  create sequence apart start 4711; select nextval('apart');
  create materialized view sums as select parent, count(*) from large group by 1`;

interface Expected {
  readonly rows: Record<string, string>;
  readonly objects: readonly unknown[];
}

/** Rows of all tables, and what post-data and sequences are: all that an apply makes. */
async function contents(database: string): Promise<Expected> {
  const objects = await server.query(
    `select 'index ' || indexrelid::regclass::text as name, indisvalid::text as value
       from pg_index join pg_class c on c.oid = indrelid where c.relnamespace = 'public'::regnamespace
     union all select 'constraint ' || conrelid::regclass || ' ' || conname, convalidated::text
       from pg_constraint where connamespace = 'public'::regnamespace
     union all select 'sequence ' || sequencename, coalesce(last_value, -1)::text from pg_sequences where schemaname = 'public'
     union all select 'large object ' || oid, concat(md5(lo_get(oid)), lomacl, obj_description(oid, 'pg_largeobject'))
       from pg_largeobject_metadata
     union all select 'moving', count(*) || ' ' || sum(hashtextextended(t::text, 0)::numeric) from moving t
     order by 1`,
    [],
    { database },
  );
  const { "public.moving_0": _, "public.moving_1": __, ...rows } = await digests(server, database);
  return { rows, objects };
}

beforeAll(async () => {
  server = await startServer({
    name: "kill-anywhere-apply",
    settings: { max_worker_processes: 16, "steep_repl.poll_interval": 200 },
  });
  await server.createDatabase("source", { extension: true });
  await server.query(schema, [], source);
  expected = await contents("source");
  path = freshPath(server);
  await takeSnapshot(server, { ...source, path });
  await server.createDatabase("target", { extension: true });
  const before = performance.now();
  await applySnapshot(server, path, { ...target, args });
  typicalMs = performance.now() - before;
  console.log(`an apply takes ${typicalMs.toFixed(0)} ms when nobody disturbs it`);
  await server.query("drop database target");
});
afterAll(() => server.destroy());
beforeEach(() => server.createDatabase("target", { extension: true }));
afterEach(async () => {
  await server.query("drop database target with (force)");
  await expectNoLeaks(server, { files: [path.split("/").at(-1) ?? ""] });
});

const args = "parallel => 3";

async function attempts(apply: ApplyRow): Promise<number> {
  const [job] = await server.query<{ attempts: number }>(
    "select attempts from steep_repl.work_queue where id = $1",
    [apply.operation_id],
    target,
  );
  return job?.attempts ?? 0;
}

async function phase(apply: ApplyRow): Promise<string> {
  const [row] = await server.query<{ phase: string }>(
    "select phase from steep_repl.snapshots where snapshot_id = $1",
    [apply.snapshot_id],
    target,
  );
  return row?.phase ?? "";
}

/** The apply, killed as often as it is asked for, completes by itself; all of it is there once. */
async function surviveKills(kills: number): Promise<void> {
  const apply = await startApply(server, path, { ...target, args });
  for (let i = 0; i < kills; i++) {
    const delay = random.int(0, Math.ceil(typicalMs / kills));
    await sleep(delay);
    const at = await phase(apply);
    const killed = await killSomething(server, random, 0.4);
    console.log(`${killed} killed ${delay} ms later, in phase ${at}`);
  }
  const row = await endOfApply(server, apply, target);
  console.log(`${row.status} after ${await attempts(apply)} attempts, ${row.rows_written} rows`);
  expect(row).toMatchObject({ status: "complete", phase: "complete", error_message: null });
  expect(await contents("target")).toEqual(expected);
  expect(row.rows_written).toBe("305000");
  expect(await server.query("select from steep_repl._apply_done", [], target)).toEqual([]);
  expect(await server.query("select * from steep_repl.leftovers()", [], target)).toEqual([]);
  await waitUntil(
    () => server.pidsByApplicationName("steep_repl%"),
    (pids) => pids.length === 1,
    "only the launcher is left",
  );
}

test.each(Array.from({ length: 20 }, (_, i) => i + 1))(
  "kill %i: the same apply completes by itself, with every row once",
  () => surviveKills(1),
);

test("five kills of one apply: it completes all the same", () => surviveKills(5));
