import type { PairSide } from "../shared/action.ts";
import { sizeText } from "../shared/size-text.ts";
import { quoteIdent, quoteLiteral } from "../shared/sql-text.ts";
import type { BothFacts, CloseFacts, HalfFacts } from "./pair-facts.ts";
import { isWholeDatabase, type PairParams } from "./pair-params.ts";
import { roleChecks } from "./preflight-rights.ts";
import { type CheckRow, nothingWrong, problem, rowOf, warning } from "./preflight-row.ts";
import { keptSequences, sequenceChecks } from "./preflight-sequences.ts";
import { bothChecks, serverChecks } from "./preflight-servers.ts";
import { pairTables, tableChecks } from "./preflight-tables.ts";

const names = (list: readonly string[]) => list.join(", ");

/** Nodes that this one has pairs with, by the names of their subscriptions: what is missing is a pair of those and the peer. */
function meshFix(side: PairSide, subscriptions: readonly string[], peer: string): string {
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
            `select steep_repl.start_pair(${quoteLiteral(peer)}, existing => 'merge'); -- at ${node}, afterwards`,
        )
        .join("\n");
}

function otherChecks(
  side: PairSide,
  half: HalfFacts,
  params: PairParams,
  tables: readonly string[],
): readonly CheckRow[] {
  const { others, objects } = half;
  // those that would replicate no more
  const given = (objects.publication?.tables ?? []).filter(
    (name) => !tables.includes(name) && objects.subscription !== null,
  );
  const earlier = [
    objects.subscription === null ? null : "a subscription",
    objects.slot === null ? null : "a slot",
    objects.publication === null ? null : "a publication",
  ].filter((what) => what !== null);
  const row = rowOf(side);
  return [
    row(
      "publications of all tables",
      others.all_tables.length === 0
        ? nothingWrong("there are none")
        : problem(
            `${names(others.all_tables)}: whoever subscribes to it gets steep_repl's own tables, too`,
            others.all_tables.map((name) => `drop publication ${quoteIdent(name)};`).join(" "),
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
        : given.length > 0
          ? problem(
              `a pair of these nodes replicates other tables, which it would do no more: ${names(given)}`,
              `select * from steep_repl.drop_pair(${quoteLiteral(params.peer)}); -- or name those tables, too`,
            )
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

/** The schema of a name as SQL quotes it. */
function schemaOf(name: string): string {
  const quoted = /^"((?:[^"]|"")*)"\./.exec(name)?.[1];
  return quoted === undefined ? (name.split(".")[0] ?? "") : quoted.replace(/""/g, '"');
}

function missing(here: readonly string[], there: readonly string[]): readonly string[] {
  return here.filter((name) => !there.includes(name));
}

function peerChecks({ here, there }: BothFacts, params: PairParams): readonly CheckRow[] {
  const row = rowOf("peer");
  if (params.existing !== "refuse") {
    return [];
  }
  const used = new Set(here.tables.map((t) => schemaOf(t.name)));
  const schemas = missing(here.others.schemas, there.others.schemas).filter((name) =>
    used.has(name),
  );
  const roles = missing(here.others.roles, there.others.roles);
  const theirs = new Set(there.tables.map((t) => t.name));
  const owners = roles.filter((role) =>
    here.tables.some(({ owner, name }) => owner === role && !theirs.has(name)),
  );
  const extensions = missing(here.others.extensions, there.others.extensions);
  const spaces = missing(here.others.tablespaces, there.others.tablespaces);
  const size = here.server.size;
  const room = (side: PairSide, free: number, where: string): CheckRow =>
    rowOf(side)(
      "disk",
      free < 0
        ? nothingWrong(`not looked at: where ${where} will be is not known`)
        : free < size
          ? warning(
              `${sizeText(free)} are free for ${where}, and the database has ${sizeText(size)}`,
              "make room, or set steep_repl.snapshot_directories to a larger file system",
            )
          : nothingWrong(`${sizeText(free)} are free for ${where}`),
    );
  const isGiven = params.output_path !== null;
  const hasPath = (half: HalfFacts) =>
    params.output_path !== null || (half.server.directories ?? "") !== "";
  return [
    row(
      "roles",
      roles.length === 0
        ? nothingWrong("all are there")
        : (owners.length > 0 ? problem : warning)(
            owners.length > 0
              ? `missing there: ${names(owners)}, who own tables that are to be made there`
              : `missing there: ${names(roles)}; objects that they own, or have rights to, cannot be made`,
            (owners.length > 0 ? owners : roles)
              .map((name) => `create role ${quoteIdent(name)};`)
              .join(" "),
          ),
    ),
    row(
      "schemas",
      schemas.length === 0
        ? nothingWrong("all are there")
        : isWholeDatabase(params)
          ? nothingWrong(`the job creates ${names(schemas)}`)
          : problem(
              `missing there: ${names(schemas)}; with some tables only, those alone are created`,
              schemas.map((name) => `create schema ${quoteIdent(name)};`).join(" "),
            ),
    ),
    row(
      "tablespaces",
      spaces.length === 0
        ? nothingWrong("all are there")
        : warning(
            `missing there: ${names(spaces)}`,
            `create tablespace ${quoteIdent(spaces[0] ?? "")} location '...'`,
          ),
    ),
    row(
      "extensions",
      extensions.length === 0
        ? nothingWrong("all are there")
        : warning(
            `not there yet: ${names(extensions)}; the job creates them, which needs their files at the peer and the right to`,
            extensions.map((name) => `create extension ${quoteIdent(name)};`).join(" "),
          ),
    ),
    room("local", isGiven ? -1 : here.server.space.snapshots, "the snapshot"),
    room("peer", isGiven ? -1 : there.server.space.snapshots, "its copy"),
    room("peer", there.server.space.data, "the data"),
    rowOf("both")(
      "directory",
      hasPath(here) && hasPath(there)
        ? nothingWrong("there is one for the snapshot")
        : problem(
            "where the snapshot is to be is not known",
            "alter system set steep_repl.snapshot_directories = '/backups'; select pg_reload_conf(); -- or give output_path",
          ),
    ),
  ];
}

function versionChecks({ peer_version, here, back }: CloseFacts): readonly CheckRow[] {
  const isSame = peer_version === here.server.extension;
  const row = rowOf("peer");
  const version = row(
    "steep_repl",
    isSame
      ? nothingWrong(peer_version)
      : problem(
          peer_version === ""
            ? "the extension is not there"
            : `it is ${peer_version} there, and ${here.server.extension} here`,
          peer_version === ""
            ? "create extension steep_repl cascade"
            : "alter extension steep_repl update; -- on the side with the older one",
        ),
  );
  if (!isSame) {
    return [version];
  }
  const isFound = (back.node_id ?? null) !== null;
  return [
    version,
    row(
      "way back",
      isFound
        ? nothingWrong(`node ${back.node_id} leads here`)
        : problem(
            `no node with a foreign server that the role may use leads to this database${(back.problems ?? []).map((p) => `; ${p}`).join("")}`,
            "create server ... foreign data wrapper dblink_fdw options (...); create user mapping ...; select steep_repl.register_node(..., foreign_server => ...)",
          ),
    ),
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
  const tables = pairTables(facts, params);
  return [
    ...rows,
    ...serverChecks("peer", there.server),
    ...bothChecks(facts),
    ...roleChecks(
      "local",
      here,
      {
        role: back.role ?? here.role.name,
        may_replicate: back.may_replicate ?? true,
      },
      params.existing,
    ),
    ...roleChecks(
      "peer",
      there,
      {
        role: there.role.name,
        may_replicate: there.role.may_replicate,
      },
      params.existing,
    ),
    ...otherChecks("local", here, params, tables),
    ...otherChecks("peer", there, params, tables),
    ...peerChecks(facts, params),
    ...tableChecks(facts, params),
    ...(params.sequences === "interleave" ? sequenceChecks(facts) : keptSequences(facts)),
  ];
}
