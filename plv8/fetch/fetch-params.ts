import type { Json } from "../db/sql.ts";
import { invalidArgument } from "../db/steep-error.ts";
import { optionalText, parallelOf, type Raw, requiredText } from "../shared/params.ts";

/** The arguments of a fetch that TypeScript decides by, as queued in `work_queue.params`. */
export interface FetchParams {
  readonly [name: string]: Json;
  /** the peer's snapshot_id, or a path there */
  readonly snapshot: string;
  readonly output_path: string;
  /** the most fetchers, 1 to 64 */
  readonly parallel: number;
  /** bytes per second of all fetchers, with a unit; null = no limit */
  readonly max_rate: string | null;
}

const units = new Map([
  ["b", 1 / 1024],
  ["kb", 1],
  ["mb", 1024],
  ["gb", 1024 ** 2],
  ["tb", 1024 ** 3],
]);

/** The most that C takes. */
const maxKilobytes = 2147483647;

/**
 * Kilobytes per second of a rate such as `50MB`; without a unit it is in bytes, as pg_size_bytes() has it.
 *
 * @throws SteepError 22023 for anything else
 */
export function kilobytesPerSecond(rate: string): number {
  const [, number, unit] =
    /^\s*(\d{1,15}(?:\.\d{1,6})?)\s*([kmgt]?b)?(?:\/s)?\s*$/i.exec(rate) ?? [];
  const kilobytes = Math.floor(
    Number(number) * (units.get((unit ?? "b").toLowerCase()) ?? Number.NaN),
  );
  if (!(kilobytes >= 1)) {
    throw invalidArgument(
      `invalid max_rate "${rate}"`,
      "Give bytes per second with a unit, of 1kB at least: '50MB'.",
    );
  }
  return Math.min(kilobytes, maxKilobytes);
}

/**
 * Check the arguments of a fetch. Called when it is queued and again when it
 * runs, since a role may add rows to the queue by itself.
 *
 * @throws SteepError 22023 for a bad argument
 */
export function fetchParams(raw: Raw): FetchParams {
  const params: FetchParams = {
    snapshot: requiredText(raw, "snapshot"),
    output_path: requiredText(raw, "output_path"),
    parallel: parallelOf(raw),
    max_rate: optionalText(raw, "max_rate"),
  };
  if (params.max_rate !== null) {
    kilobytesPerSecond(params.max_rate);
  }
  return params;
}
