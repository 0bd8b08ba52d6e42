import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { expectNoLeaks } from "../../support/leaks.ts";
import {
  auditOf,
  endOfMerge,
  type Image,
  imagesOf,
  type MergeRow,
  mergeRow,
  sorted,
  startMerge,
} from "../../support/merge.ts";
import { signal } from "../../support/processes.ts";
import { createRandom } from "../../support/random.ts";
import { type Server, startServer } from "../../support/server.ts";
import { waitUntil } from "../../support/wait-until.ts";

/*
 * A merge that is cut at any point goes on, or can be made to: nothing is written twice, and the audit
 * log says what was written, no more and no less.
 */

vi.setConfig({ testTimeout: 180_000 });

const random = createRandom();
const items = ["public.t", "public.u"];
const settings = {
  max_worker_processes: 16,
  "steep_repl.poll_interval": "1s",
  "steep_repl.lock_timeout": "3s",
};
let a: Server;
let b: Server;
/** how long a merge takes that nobody disturbs */
let typicalMs: number;

beforeAll(async () => {
  a = await startServer({ name: "merge-faults-a", settings });
  b = await startServer({ name: "merge-faults-b", identity: "peer", settings });
  for (const server of [a, b])
    await server.query(
      `create extension steep_repl cascade; select pg_replication_origin_create('apart');
       create table t (id int primary key, v text); create table u (id int primary key, t int references t, v text);
       create publication everything for table t, u`,
    );
  await a.query(
    `create server b foreign data wrapper dblink_fdw options (host '127.0.0.1', port '${b.port}', dbname 'postgres');
     create user mapping for postgres server b options (user 'postgres')`,
  );
  // replicating pairs write with an origin, and look once more at each batch
  const subscribe = (name: string, to: Server) =>
    `create subscription ${name} connection '${to.uri()}' publication everything with (copy_data = false, origin = none)`;
  await a.query(subscribe("from_b", b));
  await b.query(subscribe("from_a", a));
  await differ();
  const before = performance.now();
  const row = await endOfMerge(a, await startMerge(a, "b"));
  typicalMs = performance.now() - before;
  expect(row).toMatchObject({ error_message: null, status: "complete", rows_merged: "20800" });
}, 120_000);
afterAll(async () => {
  await a.destroy();
  await b.destroy();
});

/** Change a node without telling the other. */
async function apart(server: Server, sql: string): Promise<void> {
  const session = await server.connect();
  await session.query(
    `select pg_replication_origin_session_setup('apart'); ${sql}; select pg_replication_origin_session_reset()`,
  );
  await session.end();
}

/** 20,800 rows that differ, in all ways. */
async function differ(): Promise<void> {
  const rows = (from: number, to: number, v: string) =>
    `insert into t select g, ${v} from generate_series(${from}, ${to}) g; insert into u select g, g, ${v} from generate_series(${from}, ${to}) g where g % 25 = 0`;
  const same = `truncate t, u; ${rows(1, 12000, "'v' || g")}`;
  await apart(
    a,
    `${same}; ${rows(20001, 26000, "'here'")}; update t set v = 'here' where id % 2 = 0 and id <= 12000`,
  );
  await apart(
    b,
    `${same}; ${rows(30001, 38000, "'there'")}; update u set v = 'there' where id % 50 = 0 and id <= 12000`,
  );
}

const key = (table: string, image: Image) => `${table} ${image.id}`;

/** All rows of a server, by table and key. */
async function rowsOf(server: Server): Promise<Map<string, Image>> {
  const tables = await imagesOf(server, items);
  const found = new Map<string, Image>();
  for (const [i, rows] of tables.entries())
    for (const image of rows) found.set(key(items[i] ?? "", image), image);
  expect(found.size).toBe(tables.flat().length);
  return found;
}

type Rows = ReadonlyMap<string, Image>;

/** What changed on a side, as the audit log would have it: key, and the images before and after. */
function changes(before: Rows, after: Rows): string[] {
  const keys = [...new Set([...before.keys(), ...after.keys()])];
  return keys
    .map((k) => [k, before.get(k) ?? null, after.get(k) ?? null] as const)
    .filter(([, one, two]) => JSON.stringify(one) !== JSON.stringify(two))
    .map((change) => JSON.stringify(change))
    .sort();
}

const reordered = ({ id, ...rest }: Image): Image =>
  Object.fromEntries(Object.entries({ ...rest, id: id ?? null }).sort());

/** The changes that the audit log tells of one side. */
async function audited(merge: MergeRow, side: "local" | "remote"): Promise<string[]> {
  return (await auditOf(a, merge))
    .filter((row) => row.action.endsWith(side))
    .map((row) => {
      const before = side === "local" ? row.local_row : row.remote_row;
      return JSON.stringify([
        key(row.table_name, row.key),
        before && reordered(before),
        row.result_row && reordered(row.result_row),
      ]);
    })
    .sort();
}

/** Start a merge, wait until it is time, do it harm, and see it to its end. */
async function disturb(
  peer: string,
  isTime: (merge: MergeRow) => Promise<string>,
  harm: () => Promise<void>,
): Promise<void> {
  await differ();
  const before = [await rowsOf(a), await rowsOf(b)] as const;
  const merge = await startMerge(a, peer);
  const when = await isTime(merge);
  const at = await mergeRow(a, merge);
  const says = `seed ${random.seed}, ${when}, ${at?.phase} ${at?.rows_merged}`;
  await harm();
  const { row, tried } = await seeThrough(merge, peer);
  expect(row, `${says}: ${tried.join("; ")}`).toMatchObject({
    ...{ error_message: null, status: "complete", rows_merged: "20800", rows_left: "0" },
  });
  const after = [await rowsOf(a), await rowsOf(b)] as const;
  expect(sorted([...after[0]]), says).toEqual(sorted([...after[1]]));
  expect(await audited(merge, "local"), says).toEqual(changes(before[0], after[0]));
  expect(await audited(merge, "remote"), says).toEqual(changes(before[1], after[1]));
  expect(await a.query("select * from steep_repl._merge_intents"), says).toEqual([]);
  for (const server of [a, b])
    expect(
      await server.query("select roname from pg_replication_origin where roname like 'steep%'"),
      says,
    ).toEqual([]);
  await expectNoLeaks(a, { slots: ["from_a"] });
  await expectNoLeaks(b, { slots: ["from_b"] });
}

/** The end of a merge, which is retried where it failed. */
async function seeThrough(merge: MergeRow, peer: string) {
  const tried: string[] = [];
  let row = await ended(merge);
  while (row.status === "failed" && tried.length < 5) {
    tried.push(`${row.error_sqlstate} ${row.error_message}`);
    await waitUntil(
      () =>
        b.query("select 1").then(
          () => true,
          () => false,
        ),
      Boolean,
      "the peer is back",
      { timeoutMs: 30_000 },
    );
    await a.query("select steep_repl.retry_operation($1, $2)", [
      merge.operation_id,
      peer === "b" ? null : peer,
    ]);
    row = await ended(merge);
  }
  return { row, tried };
}

/** Any time, within that which a merge takes. */
async function anyTime(): Promise<string> {
  const delay = random.int(0, Math.ceil(typicalMs));
  await sleep(delay);
  return `${delay} of ${typicalMs.toFixed(0)} ms`;
}

/** As endOfMerge, also while the server restarts. */
function ended(merge: MergeRow): Promise<MergeRow> {
  return endOfMerge(a, merge, {}, 90_000);
}

/** More in the soak than in `make test`. */
const points = Array.from({ length: process.env.STEEP_SOAK ? 8 : 1 }, (_, i) => i + 1);

describe.each([{ name: "a foreign server" }, { name: "a connection string" }])(
  "with $name as the peer",
  ({ name }) => {
    const peer = () => (name === "a foreign server" ? "b" : b.uri());
    const killThis = async () => {
      await a.kill9();
      await a.start();
    };
    const killPeer = async () => {
      await b.kill9();
      await b.start();
    };
    const cut = async () => {
      await b.query(
        "select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'steep_repl peer'",
      );
    };

    test.each(points)("kill -9 of this server (%i)", () => disturb(peer(), anyTime, killThis));
    test.each(points)("kill -9 of the peer (%i)", () => disturb(peer(), anyTime, killPeer));
    test.each(points)("the connection is cut (%i)", () => disturb(peer(), anyTime, cut));

    /* What is asked of the peer when the answer to a COMMIT was lost: did it commit, or not? */
    describe.runIf(name === "a foreign server")("in the middle of a commit at the peer", () => {
      const gate = 4711;

      /** Let commits at the peer wait for a lock that somebody has. */
      const whileCommitsWait = async (
        harm: (release: () => Promise<void>, xid: string) => Promise<void>,
      ) => {
        // what a trigger has put off fires when the row is read back; what that puts off once more, at the commit
        await b.query(
          `create table held (id int generated always as identity);
           create function wait() returns trigger language plpgsql as $$ begin
             perform pg_advisory_xact_lock_shared(${gate}); return null; end $$;
           create constraint trigger held after insert on held deferrable initially deferred for each row execute function wait();
           alter table held enable always trigger held`,
        );
        const slow = (
          does: string,
        ) => `create function put_off() returns trigger language plpgsql as $$ begin ${does} return null; end $$;
        create constraint trigger slow after insert or update on t deferrable initially deferred
          for each row when (new.id in (20001, 25999)) execute function public.put_off();
        alter table t enable always trigger slow`;
        await a.query(slow(""));
        await b.query(
          slow("set constraints public.held deferred; insert into public.held default values;"),
        );
        const holder = await b.connect();
        await holder.query("select pg_advisory_lock($1)", [gate]);
        let xid = "";
        let isReleased = false;
        const release = async () => {
          if (!isReleased) await holder.end();
          isReleased = true;
        };
        const waits = async () => {
          await waitUntil(
            () =>
              b.query(
                "select 1 from pg_stat_activity where application_name = 'steep_repl peer' and wait_event = 'advisory' and query like 'commit%'",
              ),
            (rows) => rows.length === 1,
            "the peer commits",
            { timeoutMs: 30_000 },
          );
          const intents = await a.query<{ peer_xid: string }>(
            "select peer_xid from steep_repl._merge_intents",
          );
          expect(intents).toHaveLength(1);
          xid = intents[0]?.peer_xid ?? "";
          return "in a commit";
        };
        try {
          await disturb(peer(), waits, () => harm(release, xid));
        } finally {
          await release();
          for (const server of [a, b])
            await server.query("drop trigger slow on t; drop function put_off()");
          await b.query("drop table held; drop function wait()");
        }
      };

      const expectAtPeer = async (xid: string, status: string) =>
        waitUntil(
          () => b.query("select pg_xact_status($1::xid8) as status", [xid]),
          ([row]) => row?.status === status,
          `the peer's transaction is ${status}`,
        );

      test("which the peer did not finish", () =>
        whileCommitsWait(async (release, xid) => {
          await cut();
          await expectAtPeer(xid, "aborted");
          await release();
        }));

      test("which the peer finished, without anybody to hear of it", () =>
        whileCommitsWait(async (release, xid) => {
          const [job] = await a.query<{ worker_pid: number }>(
            "select worker_pid from steep_repl.work_queue where status = 'running'",
          );
          // stopped, it holds the connection and does not hear the answer
          signal(Number(job?.worker_pid), "SIGSTOP");
          await release();
          await expectAtPeer(xid, "committed");
          await a.kill9();
          await a.start();
        }));

      test("when the peer is killed", () =>
        whileCommitsWait(async (release) => {
          await b.kill9();
          await release();
          await b.start();
        }));
    });
  },
);
