import { visible } from "../output/one-line.ts";
import { table } from "../output/table.ts";
import type { Result, ResultRow } from "../session.ts";

interface Choices {
  readonly localOnly?: string;
  readonly remoteOnly?: string;
}

/** What a merge would do, by its dry run: hosts, counts, and the side that loses rows. */
export async function mergeSummary(
  values: ResultRow["values"],
  tables: Result,
  { here, peer }: { readonly here: string; readonly peer: string },
  choices: Choices,
): Promise<string[]> {
  const titles = ["table", "only here", "only at the peer", "differ", "equal"];
  const rows = tables.rows.map(({ values: t }) => [
    visible(t.table_name ?? ""),
    ...[t.local_only_count, t.remote_only_count, t.conflict_count, t.match_count].map(String),
  ]);
  return [
    `merge of here (${visible(here)}) with the peer (${visible(peer)}), strategy ${values.strategy}`,
    ...table([titles, ...rows], ["left", "right", "right", "right", "right"]).split("\n"),
    ...losses(values, choices),
  ];
}

/** Which side loses how many rows. */
function losses(values: ResultRow["values"], { localOnly, remoteOnly }: Choices): string[] {
  const count = (name: string) => values[name] ?? "0";
  const lines = [
    conflictLoss(values.strategy ?? "", count("conflict_count")),
    localOnly === "delete" &&
      lose("here", count("local_only_count"), "deleted, as the peer lacks them"),
    remoteOnly === "delete" &&
      lose("the peer", count("remote_only_count"), "deleted, as they are missing here"),
  ].filter((line) => typeof line === "string");
  return lines.length > 0 ? lines : ["no side loses a row"];
}

function conflictLoss(strategy: string, conflicts: string): string | undefined {
  switch (strategy) {
    case "prefer-local":
      return lose("the peer", conflicts, "overwritten with those from here");
    case "prefer-remote":
      return lose("here", conflicts, "overwritten with those of the peer");
    case "last-modified":
      return lose("the side with the older row", conflicts, "overwritten with the newer ones");
    default:
      return conflicts === "0" ? undefined : `${conflicts} rows that differ are left to decide`;
  }
}

function lose(side: string, rows: string, how: string): string | undefined {
  return rows === "0"
    ? undefined
    : `LOSES: ${side} loses ${rows} ${rows === "1" ? "row" : "rows"}, ${how}`;
}
