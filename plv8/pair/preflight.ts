import type { CloseFacts, HalfFacts, ServerFacts } from "./pair-facts.ts";
import type { PairParams } from "./pair-params.ts";
import { type Check, type CheckRow, nothingWrong, problem, warning } from "./preflight-row.ts";
import { keptSequences, sequenceChecks } from "./preflight-sequences.ts";
import { tableChecks } from "./preflight-tables.ts";

/** Two clocks may differ by so many seconds before it is worth saying. */
const clockTolerance = 5;

/** Worker processes of a pair's own job and of the jobs that it waits for, beside those of replication. */
const ownWorkers = { local: 5, peer: 4 } as const;

type Side = "local" | "peer";

const setting = (name: string, value: string | number) =>
  `alter system set ${name} = ${typeof value === "number" ? value : `'${value}'`}; -- then restart`;

function serverChecks(side: Side, server: ServerFacts): readonly CheckRow[] {
  const row = (name: string, check: Check): CheckRow => ({ side, check_name: name, ...check });
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
      "read-write",
      server.is_standby
        ? problem("the server is a standby", "use the primary, or select pg_promote()")
        : server.is_read_only
          ? problem(
              "default_transaction_read_only is on",
              "alter system set default_transaction_read_only = off; select pg_reload_conf()",
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

function roleChecks(
  side: Side,
  { role, server }: HalfFacts,
  subscriber: { readonly role: string; readonly may_replicate: boolean },
): readonly CheckRow[] {
  const row = (name: string, check: Check): CheckRow => ({ side, check_name: name, ...check });
  const quoted = `"${role.name.replace(/"/g, '""')}"`;
  return [
    row(
      "right to subscribe",
      role.may_subscribe || role.is_superuser
        ? nothingWrong(`role ${quoted} may`)
        : problem(
            `role ${quoted} may not create subscriptions`,
            `grant pg_create_subscription to ${quoted}`,
          ),
    ),
    row(
      "right to publish",
      role.may_create
        ? nothingWrong(`role ${quoted} may`)
        : problem(
            `role ${quoted} may create nothing in this database`,
            `grant create on database "${server.database.replace(/"/g, '""')}" to ${quoted}`,
          ),
    ),
    row(
      "right to replicate",
      subscriber.may_replicate && role.may_replicate
        ? nothingWrong("slots may be made and read")
        : problem(
            `role "${subscriber.may_replicate ? role.name : subscriber.role}" has not the attribute REPLICATION`,
            `alter role "${(subscriber.may_replicate ? role.name : subscriber.role).replace(/"/g, '""')}" replication`,
          ),
    ),
  ];
}

function bothChecks({ here, there }: { here: HalfFacts; there: HalfFacts }): readonly CheckRow[] {
  const row = (name: string, check: Check): CheckRow => ({
    side: "both",
    check_name: name,
    ...check,
  });
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

const names = (list: readonly string[]) => list.join(", ");
const megabytes = (bytes: number) => `${Math.floor(bytes / 1024 / 1024)} MB`;

/** Nodes that this one has pairs with, by the names of their subscriptions: what is missing is a pair of those and the peer. */
function meshFix(side: Side, subscriptions: readonly string[], peer: string): string {
  const nodes =
    side === "peer"
      ? []
      : subscriptions
          .map((name) => /^steep_.+_from_(.+)$/.exec(name)?.[1])
          .filter((node) => node !== undefined);
  return nodes.length === 0
    ? "make a pair of each two nodes that are to have the same rows"
    : nodes
        .map(
          (node) =>
            `select steep_repl.start_pair('${peer}', existing => 'merge'); -- at ${node}, afterwards`,
        )
        .join("\n");
}

function otherChecks(side: Side, half: HalfFacts, params: PairParams): readonly CheckRow[] {
  const { others, objects } = half;
  const earlier = [
    objects.subscription === null ? null : "a subscription",
    objects.slot === null ? null : "a slot",
    objects.publication === null ? null : "a publication",
  ].filter((what) => what !== null);
  const row = (name: string, check: Check): CheckRow => ({ side, check_name: name, ...check });
  return [
    row(
      "publications of all tables",
      others.all_tables.length === 0
        ? nothingWrong("there are none")
        : problem(
            `${names(others.all_tables)}: whoever subscribes to it gets steep_repl's own tables, too`,
            others.all_tables
              .map((name) => `drop publication "${name.replace(/"/g, '""')}";`)
              .join(" "),
          ),
    ),
    row(
      "other subscriptions",
      others.subscriptions.length === 0
        ? nothingWrong("there are none")
        : warning(
            `${names(others.subscriptions)}: what they bring has an origin, and is not sent on to the other node of the pair`,
            meshFix(side, others.subscriptions, params.peer),
          ),
    ),
    row(
      "other slots",
      others.slots_elsewhere.length > 0
        ? problem(
            `slot ${names(others.slots_elsewhere)} belongs to another database of the server`,
            "register the nodes under other names",
          )
        : others.slots.length === 0
          ? nothingWrong("there are none")
          : warning(
              `${names(others.slots)}: who reads them gets what was written here, and not what comes from the other node of the pair`,
              "make a pair of each two nodes that are to have the same rows",
            ),
    ),
    row(
      "earlier pair",
      earlier.length === 0
        ? nothingWrong("there was none")
        : warning(
            `${names(earlier)} of a pair of these nodes: the job removes what is of no use any more, and makes it anew`,
            "select steep_repl.drop_pair(...); -- or leave it to the job",
          ),
    ),
    row(
      "large objects",
      others.large_objects === 0
        ? nothingWrong("there are none")
        : warning(
            params.existing === "refuse" && side === "local"
              ? "they are copied once, and PostgreSQL does not replicate them afterwards"
              : "PostgreSQL does not replicate them",
            "keep such data in bytea columns",
          ),
    ),
  ];
}

function missing(here: readonly string[], there: readonly string[]): readonly string[] {
  return here.filter((name) => !there.includes(name));
}

function peerChecks(
  facts: CloseFacts & { readonly there: HalfFacts },
  params: PairParams,
): readonly CheckRow[] {
  const { here, there } = facts;
  const row = (name: string, check: Check): CheckRow => ({
    side: "peer",
    check_name: name,
    ...check,
  });
  if (params.existing !== "refuse") {
    return [];
  }
  const roles = missing(here.others.roles, there.others.roles);
  const extensions = missing(here.others.extensions, there.others.extensions);
  const spaces = missing(here.others.tablespaces, there.others.tablespaces);
  const size = here.server.size;
  const room = (side: Side, free: number, where: string): CheckRow => ({
    side,
    check_name: "disk",
    ...(free < 0
      ? nothingWrong(`not looked at: where ${where} will be is not known`)
      : free < size
        ? warning(
            `${megabytes(free)} are free for ${where}, and the database has ${megabytes(size)}`,
            "make room, or set steep_repl.snapshot_directories to a larger file system",
          )
        : nothingWrong(`${megabytes(free)} are free for ${where}`)),
  });
  const isGiven = params.output_path !== null;
  const hasPath = (half: HalfFacts) =>
    params.output_path !== null || (half.server.directories ?? "") !== "";
  return [
    row(
      "roles",
      roles.length === 0
        ? nothingWrong("all are there")
        : warning(
            `missing there: ${names(roles)}; objects that they own, or have rights to, cannot be made`,
            roles.map((name) => `create role "${name.replace(/"/g, '""')}";`).join(" "),
          ),
    ),
    row(
      "tablespaces",
      spaces.length === 0
        ? nothingWrong("all are there")
        : warning(
            `missing there: ${names(spaces)}`,
            `create tablespace "${(spaces[0] ?? "").replace(/"/g, '""')}" location '...'`,
          ),
    ),
    row(
      "extensions",
      extensions.length === 0
        ? nothingWrong("all are there")
        : warning(
            `not there yet: ${names(extensions)}; the job creates them, which needs their files at the peer and the right to`,
            extensions.map((name) => `create extension "${name.replace(/"/g, '""')}";`).join(" "),
          ),
    ),
    room("local", isGiven ? -1 : here.server.space.snapshots, "the snapshot"),
    room("peer", isGiven ? -1 : there.server.space.snapshots, "its copy"),
    room("peer", there.server.space.data, "the data"),
    {
      side: "both",
      check_name: "directory",
      ...(hasPath(here) && hasPath(there)
        ? nothingWrong("there is one for the snapshot")
        : problem(
            "where the snapshot is to be is not known",
            "alter system set steep_repl.snapshot_directories = '/backups'; select pg_reload_conf(); -- or give output_path",
          )),
    },
  ];
}

function versionChecks({ peer_version, here, back }: CloseFacts): readonly CheckRow[] {
  const isSame = peer_version === here.server.extension;
  const row: CheckRow = {
    side: "peer",
    check_name: "steep_repl",
    ...(isSame
      ? nothingWrong(peer_version)
      : problem(
          peer_version === ""
            ? "the extension is not there"
            : `it is ${peer_version} there, and ${here.server.extension} here`,
          peer_version === ""
            ? "create extension steep_repl cascade"
            : "alter extension steep_repl update; -- on the side with the older one",
        )),
  };
  if (!isSame) {
    return [row];
  }
  const isFound = (back.node_id ?? null) !== null;
  return [
    row,
    {
      side: "peer",
      check_name: "way back",
      ...(isFound
        ? nothingWrong(`node ${back.node_id} leads here`)
        : problem(
            `no node with a foreign server that the role may use leads to this database${(back.problems ?? []).map((p) => `; ${p}`).join("")}`,
            "create server ... foreign data wrapper dblink_fdw options (...); create user mapping ...; select steep_repl.register_node(..., foreign_server => ...)",
          )),
    },
  ];
}

/** What stands in the way of a pair, and what to do about it: one row for each check, whether or not it found anything. */
export function preflight({
  params,
  closely,
}: {
  readonly params: PairParams;
  readonly closely: CloseFacts;
}): readonly CheckRow[] {
  const { here, there, back } = closely;
  const rows = [...versionChecks(closely), ...serverChecks("local", here.server)];
  if (there === null) {
    return rows;
  }
  const facts = { ...closely, there };
  return [
    ...rows,
    ...serverChecks("peer", there.server),
    ...bothChecks(facts),
    ...roleChecks("local", here, {
      role: back.role ?? here.role.name,
      may_replicate: back.may_replicate ?? true,
    }),
    ...roleChecks("peer", there, {
      role: there.role.name,
      may_replicate: there.role.may_replicate,
    }),
    ...otherChecks("local", here, params),
    ...otherChecks("peer", there, params),
    ...peerChecks(facts, params),
    ...tableChecks(facts, params),
    ...(params.sequences === "interleave" ? sequenceChecks(facts) : keptSequences(facts)),
  ];
}
