import { expect } from "vitest";
import { byRow, type State, sides, tokenOf, type Written } from "./ledger-case.ts";

export const interruptions = ["none", "cancel", "coordinator", "peer"] as const;
export const crashes = ["crash here", "crash there"] as const;

/** How a case is merged, and what becomes of it meanwhile. */
export interface Course {
  readonly strategy: "prefer-local" | "prefer-remote";
  readonly localOnly: "push" | "keep" | "delete";
  readonly remoteOnly: "pull" | "keep" | "delete";
  readonly interruption: (typeof interruptions | typeof crashes)[number];
  /** whether triggers fire, as they do for others */
  readonly isSuperuser: boolean;
  readonly writesBeside: boolean;
  readonly locksUndo: boolean;
  /** whether what subscriptions write is written down */
  readonly notes: boolean;
}

/** Rows that nobody wrote to but the merge, and that it does not say to have left, are what its strategy makes of them. */
export function expectMerged(
  { strategy, localOnly, remoteOnly }: Course,
  before: State,
  after: State,
  users: readonly Written[],
  left: ReadonlyMap<string, string>,
  says: string,
): void {
  const touched = new Set(users.map(({ row }) => row.slice(row.indexOf(" ") + 1)));
  const rows = new Set([...before.keys()].map((row) => row.slice(row.indexOf(" ") + 1)));
  const wrong = [...rows].flatMap((row) => {
    if (touched.has(row) || left.has(row)) return [];
    const [local, remote] = sides.map((side) => tokenOf(before, `${side} ${row}`)) as [
      string | null,
      string | null,
    ];
    const wins = strategy === "prefer-local" ? local : remote;
    const expected =
      local !== null && remote !== null
        ? [wins, wins]
        : remote === null
          ? { push: [local, local], keep: [local, null], delete: [null, null] }[localOnly]
          : { pull: [remote, remote], keep: [null, remote], delete: [null, null] }[remoteOnly];
    const is = sides.map((side) => tokenOf(after, `${side} ${row}`));
    return JSON.stringify(is) === JSON.stringify(expected)
      ? []
      : [{ row, local, remote, expected, is }];
  });
  expect(wrong, says).toEqual([]);
}

/** What users wrote on their side is on the other one as well, of rows that both sides had, or neither. */
export function expectReplicated(
  users: readonly Written[],
  before: State,
  after: State,
  left: ReadonlyMap<string, string>,
  says: string,
): void {
  const has = (state: State, row: string) => sides.map((side) => tokenOf(state, `${side} ${row}`));
  const apart = [...new Set(users.map(({ row }) => row.slice(row.indexOf(" ") + 1)))].flatMap(
    (row) => {
      const [first, second] = has(before, row);
      const is = has(after, row);
      return is[0] === is[1] || left.has(row) || (first === null) !== (second === null)
        ? []
        : [{ row, before: [first, second], is }];
    },
  );
  expect(apart, says).toEqual([]);
}

/** Each row has what it had before the last writes of the merge that follow each other, unless somebody has changed it, or it is listed. */
export function expectUndone(
  audit: readonly Written[],
  found: State,
  undone: State,
  left: ReadonlyMap<string, string>,
  says: string,
): void {
  const writes = byRow(audit);
  const wrong = [...new Set([...writes.keys(), ...found.keys(), ...undone.keys()])].flatMap(
    (row) => {
      const steps = writes.get(row) ?? [];
      const [is, was] = [tokenOf(undone, row), tokenOf(found, row)];
      const reason = left.get(row.slice(row.indexOf(" ") + 1));
      let first = steps.length - 1;
      while (first > 0 && steps[first]?.old === steps[first - 1]?.new) first--;
      const isOurs = steps.length > 0 && was === steps.at(-1)?.new;
      const expected = isOurs ? (steps[first]?.old ?? null) : was;
      if (is === expected || (is === was && isOurs && reason !== undefined)) return [];
      return [{ row, steps, was, is, expected, reason }];
    },
  );
  expect(wrong, says).toEqual([]);
  const unchanged = [...left].filter(
    ([row, reason]) =>
      reason === "changed since" &&
      sides.every((side) => {
        const last = writes.get(`${side} ${row}`)?.at(-1);
        return last === undefined || last.new === tokenOf(found, `${side} ${row}`);
      }),
  );
  expect(unchanged, says).toEqual([]);
}
