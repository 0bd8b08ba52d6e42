import type { OverlapAction, OverlapDone } from "../shared/action.ts";

/** What `open_peer` and each `compare` leave. */
export interface OverlapFacts {
  readonly tables: number;
  readonly compared: number;
}

/** Decide what a comparison of rows does next: one table after the other. */
export function nextOverlapAction(done: OverlapDone, facts: Partial<OverlapFacts>): OverlapAction {
  switch (done) {
    case null:
      return { kind: "open_peer", phase: "planning" };
    case "open_peer":
    case "compare": {
      const { tables, compared } = facts as OverlapFacts;
      return compared < tables
        ? { kind: "compare", phase: "comparing", no: compared + 1 }
        : { kind: "close_peer", phase: "finalizing" };
    }
    case "close_peer":
      return { kind: "complete", phase: "complete" };
  }
}
