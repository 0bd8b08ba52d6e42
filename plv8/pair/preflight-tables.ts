import type { PairSide } from "../shared/action.ts";
import { quoteIdent, quoteLiteral } from "../shared/sql-text.ts";
import type { BothFacts, HalfFacts, TableFacts } from "./pair-facts.ts";
import type { PairParams } from "./pair-params.ts";
import {
  type Check,
  type CheckRow,
  nothingWrong,
  problem,
  rowOf,
  warning,
} from "./preflight-row.ts";

/** So many names are shown of a list. */
const maxNames = 10;

function named(tables: readonly (TableFacts | string)[]): string {
  const names = tables.map((t) => (typeof t === "string" ? t : t.name));
  const more = names.length - maxNames;
  return names.slice(0, maxNames).join(", ") + (more > 0 ? `, and ${more} more` : "");
}

const isReplicable = (t: TableFacts) =>
  t.kind !== "f" && t.persistence === "p" && t.unlogged_parts === 0;

/** The tables of a pair: those of this side, and where both keep their data those that both have. */
export function pairTables({ here, there }: BothFacts, params: PairParams): readonly string[] {
  const peers = new Set(there.tables.filter(isReplicable).map((t) => t.name));
  return here.tables
    .filter(isReplicable)
    .map((t) => t.name)
    .filter((name) => params.existing === "refuse" || peers.has(name));
}

const keyFix = (t: TableFacts) => `alter table ${t.name} add primary key (...);`;
/** PostgreSQL identifies rows by no key that is deferrable. */
const identityFix = ({ name, key }: TableFacts["unidentified"][number]) =>
  `alter table ${name} replica identity ${key === "immediate" ? "default" : "full"};`;

function ofSide(side: PairSide, half: HalfFacts): readonly CheckRow[] {
  const row = rowOf(side);
  const tables = half.tables.filter(isReplicable);
  const other = half.tables.filter((t) => !isReplicable(t));
  const unidentified = tables.filter((t) => t.unidentified.length > 0);
  const keyless = tables.filter((t) => t.unidentified.length === 0 && !t.has_key);
  const others = tables.filter((t) => !t.is_owned);
  const secured = tables.filter((t) => t.has_rls);
  const firing = tables.filter((t) => t.always_triggers.length > 0);
  return [
    row(
      "unlogged and foreign tables",
      other.length === 0
        ? nothingWrong("there are none")
        : warning(
            `${named(other)}: they cannot be replicated, and are left out`,
            other
              .filter((t) => t.kind === "r")
              .map((t) => `alter table ${t.name} set logged;`)
              .join(" ") || "keep such data in tables of this database",
          ),
    ),
    row(
      "replica identity",
      unidentified.length === 0
        ? nothingWrong("each row can be identified")
        : problem(
            `${named(unidentified)}: an UPDATE or DELETE fails once the table is published`,
            unidentified
              .flatMap((t) => (t.has_key ? t.unidentified.map(identityFix) : [keyFix(t)]))
              .join(" "),
          ),
    ),
    row(
      "primary key",
      keyless.length === 0
        ? nothingWrong("each table has one, by which the nodes are compared")
        : problem(
            `${named(keyless)}: without one, rows of two nodes cannot be compared`,
            keyless.map(keyFix).join(" "),
          ),
    ),
    row(
      "owner",
      others.length === 0 || half.role.is_superuser
        ? nothingWrong("the role owns the tables, or may")
        : problem(
            `the role does not own ${named(others)}`,
            [...new Set(others.map((t) => t.owner))]
              .map((o) => `grant ${quoteIdent(o)} to ${quoteIdent(half.role.name)};`)
              .join(" "),
          ),
    ),
    row(
      "row security",
      secured.length === 0
        ? nothingWrong("no table has it")
        : half.role.bypasses_rls
          ? warning(
              `${named(secured)}: what is replicated is not held against policies`,
              "nothing, if that is meant",
            )
          : problem(
              `${named(secured)}: the role may not see, or write, all rows`,
              `alter role ${quoteIdent(half.role.name)} bypassrls`,
            ),
    ),
    row(
      "triggers",
      firing.length === 0
        ? nothingWrong("none fires for what is replicated")
        : warning(
            `triggers ENABLE ALWAYS or REPLICA fire for replicated rows on ${named(firing)}: what they write on both nodes may be there twice`,
            firing
              .flatMap((t) =>
                t.always_triggers.map((g) => `alter table ${t.name} enable trigger ${g};`),
              )
              .join(" "),
          ),
    ),
  ];
}

function ofData(facts: BothFacts, params: PairParams): readonly CheckRow[] {
  const wanted = new Set(facts.here.tables.filter(isReplicable).map((t) => t.name));
  const there = facts.there.tables.filter((t) => wanted.has(t.name));
  const row = (check: Check) => rowOf("peer")("data", check);
  const unknown = facts.there.tables.filter((t) => t.has_rows === null && t.kind !== "f");
  if (params.existing !== "refuse") {
    return unknown.length === 0
      ? []
      : [
          row(
            problem(
              `the role may not read ${named(unknown)}`,
              unknown
                .map((t) => `grant select on ${t.name} to ${quoteIdent(facts.there.role.name)};`)
                .join(" "),
            ),
          ),
        ];
  }
  const filled = there.filter((t) => t.has_rows !== false);
  const isPartly = there.length > 0 && there.length < wanted.size;
  return [
    row(
      filled.length > 0
        ? problem(
            `${named(filled)}: there are rows at the peer already`,
            "start_pair(..., existing => 'merge') makes both sides equal; to fill the peer anew, truncate them there",
          )
        : isPartly
          ? problem(
              `${named(there)}: some of the tables are at the peer already, and others are not`,
              `${there.map((t) => `drop table ${t.name};`).join(" ")} -- at the peer, or create the others there`,
            )
          : nothingWrong(there.length === 0 ? "it is empty" : "its tables are empty"),
    ),
  ];
}

function ofDefinitions(facts: BothFacts, params: PairParams): readonly CheckRow[] {
  const wanted = pairTables(facts, params);
  const differing = (facts.differing ?? []).filter((name) => wanted.includes(name));
  const theirs = new Set(facts.there.tables.map((t) => t.name));
  const absent =
    params.existing === "refuse"
      ? []
      : facts.here.tables.filter((t) => isReplicable(t) && !theirs.has(t.name));
  const node = quoteLiteral(facts.local_node ?? facts.back.node_id ?? "local");
  const registration =
    facts.local_node === null ? [`select steep_repl.register_node(${node}, ${node});`] : [];
  return [
    rowOf("both")(
      "definitions",
      differing.length === 0
        ? nothingWrong("tables that both have are defined alike")
        : problem(
            `${named(differing)} are defined otherwise at the peer`,
            [
              ...registration,
              ...differing
                .slice(0, maxNames)
                .map(
                  (name) =>
                    `select suggested_sql from steep_repl.schema_diff(${node}, ${quoteLiteral(params.peer)}, ${quoteLiteral(name)}); -- and run at the peer what it gives`,
                ),
            ].join("\n"),
          ),
    ),
    rowOf("peer")(
      "tables",
      wanted.length === 0
        ? problem("there is no table to replicate", "name tables that both nodes have")
        : absent.length === 0
          ? nothingWrong(`${wanted.length} to replicate`)
          : warning(
              `${named(absent)} are not at the peer, and are left out`,
              "create them there, as schema_diff suggests",
            ),
    ),
  ];
}

/** Whether the tables of both sides can be replicated. */
export function tableChecks(facts: BothFacts, params: PairParams): readonly CheckRow[] {
  return [
    ...ofSide("local", facts.here),
    ...(params.existing === "refuse" ? [] : ofSide("peer", facts.there)),
    ...ofData(facts, params),
    ...ofDefinitions(facts, params),
  ];
}
