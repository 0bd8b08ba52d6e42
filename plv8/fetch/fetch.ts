import { SteepError } from "../db/steep-error.ts";
import type { FetchAction, FetchDone } from "../shared/action.ts";
import { sizeText } from "../shared/size-text.ts";
import { type FetchParams, kilobytesPerSecond } from "./fetch-params.ts";

/** What `open_peer` and `fetch_manifest` leave; 64-bit numbers are texts. */
export interface FetchFacts {
  /** after `fetch_manifest`: bytes of files that are not here yet, and free space where they go */
  readonly bytes_missing?: string;
  readonly bytes_free?: string;
}

export interface FetchJob {
  readonly done: FetchDone;
  readonly params: FetchParams;
}

function refuseFullDisk(facts: FetchFacts): void {
  const missing = Number(facts.bytes_missing ?? "0");
  const free = Number(facts.bytes_free ?? "0");
  if (missing > free) {
    throw new SteepError({
      sqlstate: "53100",
      message: "the snapshot cannot fit",
      detail: `${sizeText(missing)} are to be fetched; ${sizeText(free)} are free.`,
      hint: "Free some space and go on with retry_operation(id), or fetch it to another file system.",
    });
  }
}

/** Decide what fetching a snapshot does next. What is here already and right, C leaves as it is. */
export function nextFetchAction({ done, params }: FetchJob, facts: FetchFacts): FetchAction {
  switch (done) {
    case null:
      return { kind: "open_peer", phase: "planning", snapshot: params.snapshot };
    case "open_peer":
      return { kind: "make_directory", phase: "planning", path: params.output_path };
    case "make_directory":
      return { kind: "fetch_manifest", phase: "planning" };
    case "fetch_manifest":
      refuseFullDisk(facts);
      return {
        kind: "fetch_files",
        phase: "data",
        parallel: params.parallel,
        kilobytes_per_second: params.max_rate === null ? null : kilobytesPerSecond(params.max_rate),
      };
    case "fetch_files":
      return { kind: "finish", phase: "finalizing" };
    case "finish":
      return { kind: "complete", phase: "complete" };
  }
}
