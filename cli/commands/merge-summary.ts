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
function losses(values: ResultRow["values"], choices: Choices): string[] {
  const { localOnly, remoteOnly } = choices;
  const count = (name: string) => values[name] ?? "0";
  const lines = [
    conflictLoss(values.strategy ?? "", count("conflict_count")),
    localOnly === "delete" &&
      lose("here", count("local_only_count"), "deleted, as the peer lacks them"),
    remoteOnly === "delete" &&
      lose("the peer", count("remote_only_count"), "deleted, as they are missing here"),
  ].filter((line) => typeof line === "string");
  return [...(lines.length > 0 ? lines : ["no side loses a row"]), ...returning(values, choices)];
}

/** What one side lacks may have been deleted there. */
function returning(
  values: ResultRow["values"],
  { localOnly = "push", remoteOnly = "pull" }: Choices,
): string[] {
  const rows = (name: string) => values[name] ?? "0";
  return [
    ...(localOnly === "push" && rows("local_only_count") !== "0"
      ? [
          `${rows("local_only_count")} rows that only this side has are pushed: those that were deleted at the peer come back there (--local-only delete or keep)`,
        ]
      : []),
    ...(remoteOnly === "pull" && rows("remote_only_count") !== "0"
      ? [
          `${rows("remote_only_count")} rows that only the peer has are pulled: those that were deleted here come back here (--remote-only delete or keep)`,
        ]
      : []),
  ];
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
