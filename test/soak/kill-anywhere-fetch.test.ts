import { setTimeout as sleep } from "node:timers/promises";
import { expect, test } from "vitest";
import {
  expectSameFiles,
  type FetchPair,
  type FetchRow,
  setFetchPair,
  startFetch,
} from "../support/fetch.ts";
import { killSomething } from "../support/kill-something.ts";
import { expectNoLeaks } from "../support/leaks.ts";
import { createRandom } from "../support/random.ts";
import { endOf } from "../support/snapshots.ts";
import { waitUntil } from "../support/wait-until.ts";

/* A fetch during which everything is killed, cut and ended at random moments is complete in the end, and the same. */

const rounds = Number(process.env.STEEP_ROUNDS ?? 30);
const random = createRandom();
let pair: FetchPair;
setFetchPair(
  "kill-anywhere-fetch",
  (made) => {
    pair = made;
  },
  { "steep_repl.poll_interval": 200, max_worker_processes: 16 },
);

const events = {
  worker: () => killSomething(pair.a, random, 0),
  server: () => killSomething(pair.a, random, 1),
  async peer() {
    await pair.b.kill9();
    await pair.b.start();
    return "peer";
  },
  async line() {
    pair.proxy.cut();
    return "line";
  },
  async terminated() {
    await pair.a.query(
      "select pg_terminate_backend(pid) from pg_stat_activity where application_name like 'steep_repl fetch\\_%'",
    );
    return "terminated";
  },
} as const;

/** Its end, after as many retries as it takes. */
async function completed(row: FetchRow): Promise<FetchRow> {
  for (let attempt = 0; ; attempt++) {
    const end = (await endOf(pair.a, row)) as FetchRow;
    if (end.status === "complete" || attempt === 5) return end;
    // what crashes, ends and cut lines are told as, and nothing else
    expect(end.error_sqlstate, `${end.error_message}`).toMatch(/^(57P0[123]|08\w+)$/);
    await pair.a.query("select steep_repl.retry_operation($1)", [row.operation_id]);
  }
}

test.each(Array.from({ length: rounds }, (_, i) => i))(
  "round %i",
  { timeout: 120_000 },
  async () => {
    const { a, source } = pair;
    const kinds = Object.keys(events) as (keyof typeof events)[];
    const happened: string[] = [];
    const row = await startFetch(a, "there", source.snapshot_id, {
      args: `parallel => ${random.pick([1, 2, 3])}, max_rate => '${random.pick([2, 4, 8])}MB'`,
    });
    for (let n = random.pick([1, 2, 3]); n > 0; n--) {
      await sleep(random.next() * 900);
      happened.push(await events[random.pick(kinds)]());
    }
    await waitUntil(
      () =>
        a.query("select 1").then(
          () => true,
          () => false,
        ),
      (is) => is,
      "the server is up",
    );
    const end = await completed(row);
    console.info(`${happened.join(", ")}: ${end.status}`);
    expect(end, `seed ${random.seed}`).toMatchObject({ status: "complete", error_message: null });
    await expectSameFiles(end.storage_path, source.storage_path);
    await a.query("select steep_repl.drop_snapshot($1)", [row.snapshot_id]);
    await expectNoLeaks(a);
    expect(await a.log()).not.toMatch(/signal 11|signal 6|PANIC|TRAP/);
  },
);
