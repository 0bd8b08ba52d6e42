import { publicFunctions } from "./api/index.ts";
import { nextAction } from "./api/next-action.ts";
import { asciiJson } from "./db/ascii-json.ts";
import type { Json } from "./db/sql.ts";
import { SteepError } from "./db/steep-error.ts";
import { bundleVersion } from "./db/version.ts";
import { fetchParams } from "./fetch/fetch-params.ts";
import { type PeerFacts, refuseMerge } from "./merge/merge-checks.ts";
import { mergeParams, queuedMergeParams, restoring } from "./merge/merge-params.ts";
import { planMerge } from "./merge/merge-plan.ts";
import { resolveActions } from "./merge/row-actions.ts";
import { planOverlap } from "./overlap/overlap-plan.ts";
import { pairLimits, pairParams } from "./pair/pair-params.ts";
import { planPair } from "./pair/plan.ts";
import { preflight } from "./pair/preflight.ts";
import { sequenceShares } from "./pair/preflight-sequences.ts";
import type { Raw } from "./shared/params.ts";
import { tableScope } from "./shared/table-scope.ts";

type Handler = (args: never) => unknown;

// A map, since an object would also have "toString" and its like.
const handlers: ReadonlyMap<string, Handler> = new Map<string, Handler>([
  ...publicFunctions.map((f) => [f.name, f.run] as const),
  ["next_action", nextAction],
  ["overlap_plan", planOverlap],
  ["merge_plan", planMerge],
  ["merge_params", mergeParams],
  ["fetch_params", fetchParams],
  ["table_scope", tableScope],
  ["merge_actions", (raw: Raw) => queuedMergeParams(raw).actions],
  ["resolve_actions", resolveActions],
  ["resolve_refuse", (facts: PeerFacts) => refuseMerge(restoring, facts)],
  ["pair_params", pairParams],
  ["pair_limits", pairLimits],
  ["preflight", preflight],
  ["pair_plan", planPair],
  ["pair_shares", sequenceShares],
  ["version", bundleVersion],
]);

interface Envelope {
  readonly version: string;
  readonly args: Json;
}

/** Code is cached for a session: after an update, old sessions still hold the old one. */
function checkVersion(wanted: string): void {
  if (wanted !== bundleVersion()) {
    throw new SteepError({
      sqlstate: "55000",
      message: `this session has loaded steep_repl ${bundleVersion()}, but the extension is ${wanted}`,
      hint: "Reconnect.",
    });
  }
}

/**
 * The one entry point: `steep_repl._js` calls it with two strings and returns
 * its answer, `{"result": …}` or `{"error": {…}}`.
 */
export function dispatch(name: string, envelope: string): string {
  try {
    const { version: wanted, args } = JSON.parse(envelope) as Envelope;
    checkVersion(wanted);
    const handler = handlers.get(name);
    if (handler === undefined) {
      throw new Error(`no function ${name}`);
    }
    return asciiJson({ result: handler(args as never) ?? null });
  } catch (e) {
    if (e instanceof SteepError) {
      return asciiJson({ error: e.data });
    }
    const detail = e instanceof Error ? (e.stack ?? "") : "";
    return asciiJson({
      error: { sqlstate: "XX000", message: `steep_repl: ${String(e)}`, detail },
    });
  }
}
