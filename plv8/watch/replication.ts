import type { Json } from "../db/sql.ts";
import { sizeText } from "../shared/size-text.ts";
import { quoteIdent, quoteLiteral } from "../shared/sql-text.ts";
import type {
  PeerName,
  Probed,
  ReplicationFacts,
  ReplicationLimits,
  SlotFacts,
  SubscriptionFacts,
} from "./replication-facts.ts";

/** In a word, how one direction fares. */
type State =
  | "streaming"
  | "catching-up"
  | "initializing"
  | "disabled"
  | "not-connected"
  | "failing"
  | "lost"
  | "unknown";

/** A row of replication_status(). */
export interface ReplicationRow {
  readonly [column: string]: Json;
  readonly peer: string | null;
  readonly direction: "in" | "out";
  readonly state: State;
  /** why it is not as it should be, with what to do */
  readonly reasons: readonly string[];
}

const isOver = (value: string | null | undefined, limit: number | null): boolean =>
  value != null && limit !== null && limit > 0 && Number(value) > limit;

/** How far behind it is, if that is too far. */
function lagReasons(
  what: string,
  { lag_bytes, lag }: Pick<SlotFacts, "lag_bytes" | "lag">,
  limits: ReplicationLimits,
): readonly string[] {
  return [
    ...(isOver(lag_bytes, limits.lag_bytes)
      ? [`${what} is ${sizeText(Number(lag_bytes))} behind (steep_repl.lag_warning)`]
      : []),
    ...(isOver(lag, limits.lag_seconds)
      ? [`${what} is ${Math.round(Number(lag))} s behind (steep_repl.lag_time_warning)`]
      : []),
  ];
}

function inState(s: SubscriptionFacts, isBehind: boolean): State {
  if (!s.is_enabled) return "disabled";
  if (s.error !== null) return "failing";
  if (s.tables_waiting !== null && Number(s.sync_errors ?? 0) > 0) return "failing";
  if (!s.is_connected) return "not-connected";
  if (s.tables_ready < s.tables_total) return "initializing";
  return isBehind ? "catching-up" : "streaming";
}

function inReasons(s: SubscriptionFacts, state: State): readonly string[] {
  const name = `subscription ${quoteIdent(s.name)}`;
  const alter = `ALTER SUBSCRIPTION ${quoteIdent(s.name)}`;
  switch (state) {
    case "disabled":
      return [`${name} is disabled: nothing comes from there (${alter} ENABLE)`];
    case "failing":
      return s.error !== null
        ? [
            `${name} fails on a change again and again: ${s.error} (mend what it says, or leave that transaction out with ${alter} SKIP and compare the tables)`,
          ]
        : [
            `${name} does not get these tables copied: ${s.tables_waiting} (the server log says why)`,
          ];
    case "not-connected":
      return [
        `${name} receives nothing: no worker of it is connected (the server log says why; max_logical_replication_workers may be used up)`,
      ];
    case "initializing":
      return s.tables_waiting === null
        ? []
        : [
            `${name} has tables that wait to be copied: ${s.tables_waiting} (max_sync_workers_per_subscription and max_logical_replication_workers bound how many are at once)`,
          ];
    default:
      return [];
  }
}

const isInvalid = (slot: SlotFacts) => slot.invalidation !== null || slot.wal_status === "lost";

function outState(slot: SlotFacts, isBehind: boolean): State {
  if (isInvalid(slot)) return "lost";
  if (!slot.is_active) return "not-connected";
  return isBehind || slot.state === "catchup" ? "catching-up" : "streaming";
}

function outReasons(slot: SlotFacts, limits: ReplicationLimits): readonly string[] {
  const name = `slot ${quoteIdent(slot.name)}`;
  const drop = `select pg_drop_replication_slot(${quoteLiteral(slot.name)})`;
  const held = sizeText(Number(slot.retained_bytes ?? 0));
  return [
    ...(isInvalid(slot)
      ? [
          `${name} is lost (${slot.invalidation ?? slot.wal_status}): what it had yet to send will never be sent; set up the pair again with start_pair(..., existing => 'merge')`,
        ]
      : slot.is_active || !isOver(slot.lag, limits.lag_seconds)
        ? []
        : [
            `nobody has read ${name} since ${slot.inactive_since ?? "the server started"}: it holds back ${held} of WAL (enable the subscription that reads it, or ${drop})`,
          ]),
    ...(slot.wal_status === "unreserved"
      ? [`${name} holds more WAL than max_slot_wal_keep_size allows, and may be lost at any time`]
      : []),
    ...(isOver(slot.retained_bytes, limits.retained_bytes)
      ? [`${name} holds back ${held} of WAL (steep_repl.slot_retention_warning)`]
      : []),
  ];
}

function inRow(
  s: SubscriptionFacts,
  peer: string | null,
  other: SlotFacts | undefined,
  limits: ReplicationLimits,
): ReplicationRow {
  // what the publisher knows is nearer to the truth than what has arrived
  const lag = other?.is_active ? other : s;
  const behind = lagReasons(`subscription ${quoteIdent(s.name)}`, lag, limits);
  const state = inState(s, behind.length > 0);
  return {
    ...{ peer, direction: "in", subscription: s.name, slot_name: s.slot, state },
    ...{ lag_bytes: lag.lag_bytes, lag: lag.lag === null ? null : `${lag.lag} s` },
    retained_bytes: other?.retained_bytes ?? null,
    wal_status: other?.wal_status ?? null,
    inactive_since: other?.inactive_since ?? null,
    ...{ tables_ready: s.tables_ready, tables_total: s.tables_total },
    ...{ apply_errors: s.apply_errors, sync_errors: s.sync_errors, conflicts: s.conflicts },
    last_error: s.error,
    reasons: [...inReasons(s, state), ...(state === "disabled" ? [] : behind)],
  };
}

function outRow(
  slot: SlotFacts,
  peer: string | null,
  other: SubscriptionFacts | undefined,
  limits: ReplicationLimits,
): ReplicationRow {
  const behind = slot.is_active
    ? lagReasons(`who reads slot ${quoteIdent(slot.name)}`, slot, limits)
    : [];
  return {
    ...{ peer, direction: "out", subscription: other?.name ?? null, slot_name: slot.name },
    state: outState(slot, behind.length > 0),
    ...{ lag_bytes: slot.lag_bytes, lag: slot.lag === null ? null : `${slot.lag} s` },
    ...{ retained_bytes: slot.retained_bytes, wal_status: slot.wal_status },
    inactive_since: slot.inactive_since,
    tables_ready: other?.tables_ready ?? null,
    tables_total: other?.tables_total ?? null,
    apply_errors: other?.apply_errors ?? null,
    sync_errors: other?.sync_errors ?? null,
    conflicts: other?.conflicts ?? null,
    last_error: other?.error ?? null,
    reasons: [
      ...outReasons(slot, limits),
      ...behind,
      ...(other === undefined
        ? []
        : inReasons(other, inState(other, false)).map((reason) => `at the peer: ${reason}`)),
    ],
  };
}

const unknownRow = (peer: string, direction: "in" | "out", problem: string): ReplicationRow => ({
  ...{ peer, direction, subscription: null, slot_name: null, state: "unknown", lag_bytes: null },
  ...{ lag: null, retained_bytes: null, wal_status: null, inactive_since: null },
  ...{ tables_ready: null, tables_total: null, apply_errors: null, sync_errors: null },
  ...{ conflicts: null, last_error: null, reasons: [`node ${quoteIdent(peer)}: ${problem}`] },
});

/** Which node a subscription or a slot is of, by the names that pairs give them. */
function nodeOf(peers: readonly PeerName[], has: (part: string) => boolean): string | null {
  return peers.find(({ part }) => has(part))?.node ?? null;
}

const subscriptionOf = (part: string) => (name: string) =>
  name.startsWith("steep_") && name.endsWith(`_from_${part}`);
const slotOf = (part: string) => (name: string) => name.startsWith(`steep_${part}_from_`);

/** One row for each subscription, and each slot that others read. `probed`: the other ends, of nodes that were asked. */
export function replicationRows(
  facts: ReplicationFacts,
  peers: readonly PeerName[],
  probed: Probed,
): readonly ReplicationRow[] {
  const { limits } = facts;
  const otherOf = (node: string | null): ReplicationFacts | undefined => {
    const found = node === null ? undefined : probed[node];
    return found === undefined || "problem" in found ? undefined : found;
  };
  const rows = [
    ...facts.subscriptions.map((s) => {
      const node = nodeOf(peers, (part) => subscriptionOf(part)(s.name));
      const other = otherOf(node)?.slots.find(({ name }) => name === s.slot);
      return inRow(s, node, other, limits);
    }),
    ...facts.slots.map((slot) => {
      const node = nodeOf(peers, (part) => slotOf(part)(slot.name));
      const other = otherOf(node)?.subscriptions.find((s) => s.slot === slot.name);
      return outRow(slot, node, other, limits);
    }),
  ];
  return [
    ...rows.map((row) => {
      const found = row.peer === null ? undefined : probed[row.peer];
      return found === undefined || !("problem" in found)
        ? row
        : { ...row, reasons: [...row.reasons, `the other end is not known: ${found.problem}`] };
    }),
    ...Object.entries(probed).flatMap(([node, found]) =>
      "problem" in found && !rows.some((row) => row.peer === node)
        ? (["in", "out"] as const).map((direction) => unknownRow(node, direction, found.problem))
        : [],
    ),
  ];
}
