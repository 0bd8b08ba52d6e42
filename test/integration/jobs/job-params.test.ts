import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import { expectNoLeaks } from "../../support/leaks.ts";
import { createRandom } from "../../support/random.ts";
import { type Server, startServer } from "../../support/server.ts";
import { dropSnapshots, freshPath } from "../../support/snapshots.ts";
import { waitUntil } from "../../support/wait-until.ts";

/* A role may put rows into the queue by itself, with parameters of any JSON type. */
let server: Server;
const app = { database: "app" };

beforeAll(async () => {
  server = await startServer({
    name: "job-params",
    settings: { max_worker_processes: 24, "steep_repl.poll_interval": "100ms" },
  });
  await server.createDatabase("app", { extension: true });
  await server.query("create table t as select 1 as id", [], app);
});
afterAll(() => server.destroy());
afterEach(async () => {
  await dropSnapshots(server, app);
  await expectNoLeaks(server);
});

type Params = Readonly<Record<string, unknown>>;

/** Parameters as the public functions queue them, of each operation. */
const queued = (): Readonly<Record<string, Params>> => {
  const merge = {
    strategy: "prefer-local",
    dry_run: false,
    last_modified_column: null,
    local_only: "push",
    remote_only: "pull",
    backlog: "refuse",
    other_subscribers: "refuse",
    peer: "nobody",
    is_conninfo: false,
    tables: ["public.t"],
    primary_keys: null,
  };
  return {
    snapshot_generate: {
      output_path: freshPath(server),
      compression: "zstd",
      parallel: 1,
      level: null,
      tables: ["public.t"],
      schemas: null,
      slot_name: null,
      publications: null,
      node_id: null,
      large_objects: "refuse",
    },
    snapshot_apply: {
      input_path: "/nowhere",
      parallel: 1,
      verify: false,
      sections: ["data"],
      tables: null,
      truncate: false,
      no_owner: false,
      no_privileges: false,
    },
    snapshot_fetch: {
      peer: "nobody",
      is_conninfo: false,
      snapshot: "snap_x",
      output_path: freshPath(server),
      parallel: 1,
      max_rate: "1MB",
    },
    overlap: {
      peer: "nobody",
      is_conninfo: false,
      tables: ["public.t"],
      primary_keys: null,
      catch_up_timeout: "1 min",
    },
    bidirectional_merge: merge,
    merge_undo: { ...merge, undoes: "merge_x" },
  };
};

const odd = [
  { a: 1 },
  [],
  [[]],
  [null],
  [{ a: [1] }],
  1.5,
  -7,
  true,
  null,
  "",
  "\u0001",
  'a"b\n💥',
  "x".repeat(2000),
] as const;

/** What nobody but the author of the code could make sense of. */
const internal = /^(XX|22004|22P0[235]|42(601|703|804|883)|P0)/;

test("whatever type a parameter has, the job fails with words, or does not look at it", async () => {
  const random = createRandom();
  const cases = Object.entries(queued()).flatMap(([operation, params]) =>
    Object.keys(params).flatMap((name) =>
      random
        .shuffle(odd)
        .slice(0, 2)
        .concat([{ a: 1 }])
        .map((value) => ({ operation, name, value })),
    ),
  );
  const jobs = new Map<string, (typeof cases)[number]>();
  for (const one of cases) {
    const params = { ...queued()[one.operation], [one.name]: one.value };
    const [row] = await server.query<{ id: string }>(
      "insert into steep_repl.work_queue (operation, params) values ($1, $2) returning id",
      [one.operation, JSON.stringify(params)],
      app,
    );
    jobs.set(row?.id as string, one);
  }
  await waitUntil(
    () =>
      server.query(
        "select id from steep_repl.work_queue where status in ('pending', 'running')",
        [],
        app,
      ),
    (left) => left.length === 0,
    "all jobs are over",
    { timeoutMs: 50_000 },
  );
  const ends = await server.query<{
    id: string;
    status: string;
    error_sqlstate: string | null;
    error_message: string | null;
  }>("select id, status, error_sqlstate, error_message from steep_repl.work_queue", [], app);
  const wrong = ends
    .filter(
      ({ status, error_sqlstate, error_message }) =>
        status !== "complete" && (!error_message || internal.test(error_sqlstate ?? "XX000")),
    )
    .map((end) => ({ ...jobs.get(end.id), ...end }));
  expect(wrong, `seed ${random.seed}`).toEqual([]);
  expect(ends).toHaveLength(cases.length);
  await server.query("delete from steep_repl.work_queue", [], app);
});
