import type { PairSide } from "../shared/action.ts";
import type { BothFacts, HalfFacts, SequenceFacts } from "./pair-facts.ts";
import {
  type Check,
  type CheckRow,
  nothingWrong,
  problem,
  rowOf,
  warning,
} from "./preflight-row.ts";

/** So many values a node should still have of a sequence, once it is shared out. */
const wantedValues = 1_000_000;

/** How many values are left to each node. Beyond 2^53 nobody counts exactly. */
function valuesLeft(s: SequenceFacts): number {
  const increment = Number(s.increment);
  const step = Math.abs(increment) * (increment % 10 === 0 ? 1 : 10);
  const last =
    s.last === null ? (increment > 0 ? Number(s.minimum) : Number(s.maximum)) : Number(s.last);
  const rest = increment > 0 ? Number(s.maximum) - last : last - Number(s.minimum);
  return Math.floor(rest / step);
}

function sideChecks(side: PairSide, { sequences }: HalfFacts): CheckRow {
  const row = (check: Check) => rowOf(side)("sequences", check);
  const short = sequences.filter((s) => valuesLeft(s) < wantedValues);
  const cyclic = sequences.filter((s) => s.is_cycle);
  const foreign = sequences.filter((s) => !s.is_owned);
  const names = (list: readonly SequenceFacts[]) => list.map((s) => s.name).join(", ");
  if (foreign.length > 0) {
    return row(
      problem(
        `the role does not own ${names(foreign)}, whose increment is to be changed`,
        foreign.map((s) => `alter sequence ${s.name} owner to ...;`).join(" "),
      ),
    );
  }
  if (cyclic.length > 0) {
    return row(
      problem(
        `${names(cyclic)} would begin anew, with values of the other node`,
        cyclic.map((s) => `alter sequence ${s.name} no cycle;`).join(" "),
      ),
    );
  }
  if (short.length > 0) {
    return row(
      problem(
        `a tenth of what is left of ${names(short)} is less than a million values`,
        `${short.map((s) => `alter sequence ${s.name} as bigint maxvalue 9223372036854775807;`).join(" ")} -- and make its column bigint; or sequences => 'keep'`,
      ),
    );
  }
  return row(nothingWrong(`${sequences.length} can be shared out`));
}

/** Whether each node can have its tenth of the values. */
export function sequenceChecks({ here, there }: BothFacts): readonly CheckRow[] {
  return [sideChecks("local", here), sideChecks("peer", there)];
}

/** Left as they are, sequences of both nodes give the same values, unless somebody has seen to that. */
export function keptSequences({ here, there }: BothFacts): readonly CheckRow[] {
  const shares = ({ increment, number }: SequenceFacts) => `${increment} ${number}`;
  const theirs = new Map(there.sequences.map((s) => [s.name, shares(s)]));
  const colliding = here.sequences.filter((s) => {
    const other = theirs.get(s.name);
    // one that the peer has not yet comes as it is
    return other === undefined || s.number === null || other === shares(s);
  });
  return [
    rowOf("both")(
      "sequences",
      colliding.length === 0
        ? nothingWrong("both nodes give other values")
        : warning(
            `${colliding.map((s) => s.name).join(", ")}: both nodes give the same values, and inserts on both will collide`,
            "start_pair(..., sequences => 'interleave')",
          ),
    ),
  ];
}

/**
 * Which share of the values each node gets, 0 to 9: that which it has, if nobody else has it. A node that was filled from this one
 * comes with this one's.
 */
export function sequenceShares({
  here,
  there,
  taken,
}: {
  readonly here: readonly SequenceFacts[];
  readonly there: readonly SequenceFacts[];
  /** by other nodes */
  readonly taken: readonly number[];
}): { readonly here: number; readonly there: number } {
  const ownOf = (list: readonly SequenceFacts[]): number | null => {
    const found = new Set(list.map((s) => s.number).filter((n) => n !== null));
    const own = found.size === 1 ? Number([...found][0]) : null;
    return own !== null && !taken.includes(own) ? own : null;
  };
  const free = (others: readonly (number | null)[]) =>
    [1, 2, 3, 4, 5, 6, 7, 8, 9, 0].find((n) => !taken.includes(n) && !others.includes(n)) ?? 1;
  const theirs = ownOf(there);
  const first = ownOf(here) ?? free([theirs]);
  return { here: first, there: theirs !== null && theirs !== first ? theirs : free([first]) };
}
