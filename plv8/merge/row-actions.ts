/** What is done about a row that differs: written on one side, left, or decided later. */
export type RowAction =
  | "insert_local"
  | "insert_remote"
  | "update_local"
  | "update_remote"
  | "delete_local"
  | "delete_remote"
  | "keep"
  /** noted for somebody to resolve */
  | "manual"
  /** the side that was modified last is taken */
  | "stamps"
  /** compared once more */
  | "again";

/** The action for each category of rows, as SQL goes by it; of a category that is missing nothing is written. */
export interface RowActions {
  readonly local_only?: RowAction;
  readonly remote_only?: RowAction;
  readonly conflict?: RowAction;
  readonly unsettled?: RowAction;
}

/** What the arguments of a merge mean. */
export const ofLocalOnly = { push: "insert_remote", keep: "keep", delete: "delete_local" } as const;
export const ofRemoteOnly = {
  pull: "insert_local",
  keep: "keep",
  delete: "delete_remote",
} as const;
export const ofStrategy = {
  "prefer-local": "update_remote",
  "prefer-remote": "update_local",
  "last-modified": "stamps",
  manual: "manual",
} as const;

export type LocalOnly = keyof typeof ofLocalOnly;
export type RemoteOnly = keyof typeof ofRemoteOnly;
export type Strategy = keyof typeof ofStrategy;

/** The actions of a merge. */
export function mergeActions(
  strategy: Strategy,
  localOnly: LocalOnly,
  remoteOnly: RemoteOnly,
): Required<RowActions> {
  return {
    local_only: ofLocalOnly[localOnly],
    remote_only: ofRemoteOnly[remoteOnly],
    conflict: ofStrategy[strategy],
    unsettled: "again",
  };
}

/** Of one conflict that somebody has decided. */
export function resolveActions(choice: "local" | "remote"): RowActions {
  return { conflict: choice === "local" ? "update_remote" : "update_local" };
}
