import type { PairSide } from "../shared/action.ts";
import { quoteIdent } from "../shared/sql-text.ts";
import type { BothFacts, ServerFacts } from "./pair-facts.ts";
import { type CheckRow, nothingWrong, problem, rowOf, warning } from "./preflight-row.ts";

/** Two clocks may differ by so many seconds before it is worth saying. */
const clockTolerance = 5;

/** Worker processes of a pair's own job and of the jobs that it waits for, beside those of replication. */
const ownWorkers = { local: 5, peer: 4 } as const;

const setting = (name: string, value: string | number) =>
  `alter system set ${name} = ${typeof value === "number" ? value : `'${value}'`}; -- then restart`;

/** Whether a server has what it takes to be half of a pair. */
export function serverChecks(side: PairSide, server: ServerFacts): readonly CheckRow[] {
  const row = rowOf(side);
  const wantedWorkers =
    2 + Math.max(server.reserved_workers, server.subscriptions + 1) + ownWorkers[side];
  const room = (name: string, used: number, max: number, wanted: number, key: string) =>
    row(
      name,
      max - used >= wanted
        ? nothingWrong(`${max - used} of ${max} are free`)
        : problem(
            `${max - used} of ${max} are free, and ${wanted} are needed`,
            setting(key, used + wanted + 2),
          ),
    );
  return [
    row(
      "engine",
      server.has_engine
        ? nothingWrong("there is one")
        : problem("no JavaScript engine is installed", "create extension pljs; -- or plv8"),
    ),
    row(
      "background worker",
      server.has_worker
        ? nothingWrong("it runs")
        : problem(
            "steep_repl is not preloaded, or its launcher does not run",
            "shared_preload_libraries = 'steep_repl' # then restart",
          ),
    ),
    row(
      "wal_level",
      server.wal_level === "logical"
        ? nothingWrong("logical")
        : problem(`it is ${server.wal_level}`, setting("wal_level", "logical")),
    ),
    room("replication slots", server.slots, server.max_slots, 1, "max_replication_slots"),
    room("walsenders", server.senders, server.max_senders, 1, "max_wal_senders"),
    room(
      "replication origins",
      server.origins,
      server.max_origins,
      1,
      "max_active_replication_origins",
    ),
    room(
      "logical replication workers",
      server.subscriptions,
      server.max_appliers,
      1,
      "max_logical_replication_workers",
    ),
    row(
      "worker processes",
      server.max_workers >= wantedWorkers
        ? nothingWrong(`${server.max_workers}, of which ${wantedWorkers} are needed`)
        : problem(
            `max_worker_processes is ${server.max_workers}, and ${wantedWorkers} are needed by replication and by the jobs of a pair`,
            setting("max_worker_processes", wantedWorkers),
          ),
    ),
    row(
      "commit timestamps",
      server.tracks_commits
        ? nothingWrong("they are tracked")
        : warning(
            "without them PostgreSQL does not notice conflicts of updates, and last-modified needs a column",
            setting("track_commit_timestamp", "on"),
          ),
    ),
    row(
      "transactions",
      server.transactions.length === 0
        ? nothingWrong("none that writes has been open for long")
        : warning(
            `a slot begins when all transactions that write are over, and the job waits for them: ${server.transactions.slice(0, 10).join(", ")}`,
            "end them, by select pg_terminate_backend(...), or rollback prepared ... in their database",
          ),
    ),
    row(
      "read-write",
      server.is_standby
        ? problem("the server is a standby", "use the primary, or select pg_promote()")
        : server.is_read_only
          ? problem(
              "default_transaction_read_only is on",
              `alter system set default_transaction_read_only = off; select pg_reload_conf(); -- and if it is the database's: begin read write; alter database ${quoteIdent(server.database)} reset default_transaction_read_only; commit`,
            )
          : nothingWrong("transactions may write"),
    ),
    row(
      "slot retention",
      server.keep_size !== null && server.keep_size >= 0
        ? warning(
            `max_slot_wal_keep_size is ${server.keep_size} MB: a slot that holds more while the peer is filled is lost, and the pair has to begin anew`,
            "alter system set max_slot_wal_keep_size = -1; select pg_reload_conf()",
          )
        : nothingWrong("slots keep what they need"),
    ),
    row(
      "idle slots",
      server.idle_timeout !== null && server.idle_timeout > 0
        ? warning(
            `idle_replication_slot_timeout is ${server.idle_timeout} s: a slot that is not read for so long, as while the peer is filled, is lost`,
            "alter system set idle_replication_slot_timeout = 0; select pg_reload_conf()",
          )
        : nothingWrong("slots may be idle"),
    ),
    row(
      "collation version",
      server.collation_version === server.recorded_version
        ? nothingWrong(server.collation_version ?? "it has none")
        : warning(
            `the database was made with version ${server.recorded_version ?? "(none)"}, and the system has ${server.collation_version ?? "(none)"}`,
            "reindex what sorts text, then alter database ... refresh collation version",
          ),
    ),
  ];
}

/** Whether two servers are alike in what a pair needs. */
export function bothChecks({ here, there }: BothFacts): readonly CheckRow[] {
  const row = rowOf("both");
  const a = here.server;
  const b = there.server;
  const apart = Math.abs(Number(a.clock) - Number(b.clock));
  return [
    row(
      "clocks",
      apart <= clockTolerance
        ? nothingWrong("they agree")
        : warning(
            `they differ by ${apart.toFixed(0)} s, and who wrote last is told by them`,
            "have both servers' clocks set by the network",
          ),
    ),
    row(
      "encoding",
      a.encoding === b.encoding
        ? nothingWrong(a.encoding)
        : problem(
            `${a.encoding} here, ${b.encoding} at the peer`,
            `create database ... encoding '${a.encoding}' template template0; -- at the peer`,
          ),
    ),
    row(
      "collation",
      a.collation === b.collation && a.collation_version === b.collation_version
        ? nothingWrong(a.collation)
        : warning(
            `${a.collation} ${a.collation_version ?? ""} here, ${b.collation} ${b.collation_version ?? ""} at the peer: text may be sorted in another way`,
            "make the peer's database with the locale and on the system of this one",
          ),
    ),
  ];
}
