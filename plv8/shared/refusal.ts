import { SteepError } from "../db/steep-error.ts";

/** What stands in a job's way: names, joined, or null if nothing does. */
export interface Refusal {
  readonly names: string | null;
  readonly sqlstate: string;
  readonly message: string;
  readonly hint: string;
}

/** Stop at the first that applies. */
export function refuseAny(refusals: readonly Refusal[]): void {
  for (const { names, sqlstate, message, hint } of refusals) {
    if (names !== null) {
      throw new SteepError({ sqlstate, message, detail: names, hint });
    }
  }
}
