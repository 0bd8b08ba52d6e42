import { afterAll, beforeAll, expect } from "vitest";
import {
  type AuditRow,
  auditOf,
  byName,
  endOfMerge,
  found,
  type Image,
  imagesOf,
  type MergeOptions,
  type MergeRow,
  sorted,
  startMerge,
} from "./merge.ts";
import type { Random } from "./random.ts";
import { type RandomPair, randomPair, typesSql } from "./random-tables.ts";
import { type Server, startServer } from "./server.ts";

/*
 * What a merge has to do, said once more: from both tables' rows as text, without any SQL of ours but
 * for the question whether two values of a type are equal, or which is greater.
 */

export interface MergeCase {
  readonly strategy: "prefer-local" | "prefer-remote" | "last-modified" | "manual";
  readonly localOnly: "push" | "keep" | "delete";
  readonly remoteOnly: "pull" | "keep" | "delete";
}

export const strategies = ["prefer-local", "prefer-remote", "last-modified", "manual"] as const;

const localOnly = ["push", "keep", "delete"] as const;
const remoteOnly = ["pull", "keep", "delete"] as const;

/** Three ways to treat rows that only one side has: each of either side's once. */
export function choices(random: Random) {
  const shift = random.int(0, 2);
  return localOnly.map((choice, i) => ({
    localOnly: choice,
    remoteOnly: remoteOnly[(i + shift) % remoteOnly.length] ?? "pull",
  }));
}

/** The same merge, asked for from the other side. */
function mirrored({ strategy, localOnly, remoteOnly }: MergeCase): MergeCase {
  return {
    strategy:
      strategy === "prefer-local"
        ? "prefer-remote"
        : strategy === "prefer-remote"
          ? "prefer-local"
          : strategy,
    localOnly: remoteOnly === "pull" ? "push" : remoteOnly,
    remoteOnly: localOnly === "push" ? "pull" : localOnly,
  };
}

const argsOf = ({ strategy, localOnly, remoteOnly }: MergeCase) =>
  `strategy => '${strategy}', local_only => '${localOnly}', remote_only => '${remoteOnly}'${
    strategy === "last-modified" ? ", last_modified_column => 'stamp'" : ""
  }`;

/** Rows of the tables of a case, in their order. */
interface Sides {
  readonly local: readonly (readonly Image[])[];
  readonly peer: readonly (readonly Image[])[];
}

const unquoted = (name: string) =>
  name.startsWith('"') ? name.slice(1, -1).replaceAll('""', '"') : name;

const literal = (value: string) => `'${value.replaceAll("'", "''")}'`;

/** Compares values by their type, each two once; the answers are fetched before they are needed. */
class Types {
  readonly #server: Server;
  readonly #known = new Map<string, string>();

  constructor(server: Server) {
    this.#server = server;
  }

  async learn(pairs: readonly RandomPair[], { local, peer }: Sides): Promise<void> {
    const wanted = new Map<string, string>();
    for (const [t, pair] of pairs.entries()) {
      const byKey = new Map(peer[t]?.map((row) => [keyText(pair, row), row]));
      for (const row of local[t] ?? []) {
        const other = byKey.get(keyText(pair, row));
        if (!other) continue;
        for (const { name, type, asText } of pair.columns) {
          const [one, two] = [row[unquoted(name)] ?? null, other[unquoted(name)] ?? null];
          if (asText || one === null || two === null || one === two) continue;
          const question = JSON.stringify([type, one, two]);
          if (this.#known.has(question)) continue;
          const [x, y] = [`${literal(one)}::${type}`, `${literal(two)}::${type}`];
          const order =
            name === "stamp" ? `when ${x} > ${y} then '>' when ${x} < ${y} then '<'` : "";
          wanted.set(
            question,
            `case when ${x} is not distinct from ${y} then '=' ${order} else '' end`,
          );
        }
      }
    }
    if (wanted.size === 0) return;
    const answers = await this.#server.query<{ answer: string }>(
      `select unnest(array[${[...wanted.values()].join(", ")}]) as answer`,
    );
    for (const [i, question] of [...wanted.keys()].entries()) {
      this.#known.set(question, answers[i]?.answer ?? "");
    }
  }

  /** = for equal values, > or < where that was asked for, else nothing. */
  compare(column: RandomPair["columns"][number], one: string | null, two: string | null): string {
    if (one === two) return "=";
    if (one === null || two === null || column.asText) return "";
    const answer = this.#known.get(JSON.stringify([column.type, one, two]));
    if (answer === undefined) throw new Error(`not asked: ${column.type} ${one} ${two}`);
    return answer;
  }
}

const keyText = (pair: RandomPair, row: Image) =>
  JSON.stringify(pair.key.map((name) => row[unquoted(name)]));

/** What becomes of one row; `either`: of two rows that nothing tells apart, one is taken. */
interface Outcome {
  readonly key: Image;
  readonly local: Image | null;
  readonly peer: Image | null;
  readonly category: "match" | "local_only" | "remote_only" | "conflict";
  readonly action: string | null;
}

function outcomes(
  pair: RandomPair,
  types: Types,
  { strategy, localOnly, remoteOnly }: MergeCase,
  local: readonly Image[],
  peer: readonly Image[],
): Outcome[] {
  const key = (row: Image) =>
    Object.fromEntries(pair.key.map((name) => [unquoted(name), row[unquoted(name)] ?? null]));
  const there = new Map(peer.map((row) => [keyText(pair, row), row]));
  const here = new Set(local.map((row) => keyText(pair, row)));
  const stamp = pair.columns.find((column) => column.name === "stamp");

  const conflict = (one: Image, two: Image): string | null => {
    if (strategy === "manual") return null;
    if (strategy === "prefer-local") return "update_remote";
    if (strategy === "prefer-remote") return "update_local";
    if (!stamp) throw new Error("no stamp");
    const order = types.compare(stamp, one.stamp ?? null, two.stamp ?? null);
    return order === ">" ? "update_remote" : order === "<" ? "update_local" : "either";
  };
  return [
    ...local.map((row): Outcome => {
      const other = there.get(keyText(pair, row)) ?? null;
      const base = { key: key(row), local: row, peer: other };
      if (!other) {
        const does = { push: "insert_remote", keep: null, delete: "delete_local" };
        return { ...base, category: "local_only", action: does[localOnly] };
      }
      const isMatch = pair.columns.every(
        (column) =>
          types.compare(
            column,
            row[unquoted(column.name)] ?? null,
            other[unquoted(column.name)] ?? null,
          ) === "=",
      );
      return isMatch
        ? { ...base, category: "match", action: null }
        : { ...base, category: "conflict", action: conflict(row, other) };
    }),
    ...peer
      .filter((row) => !here.has(keyText(pair, row)))
      .map((row): Outcome => {
        const does = { pull: "insert_local", keep: null, delete: "delete_remote" };
        return {
          ...{ key: key(row), local: null, peer: row },
          ...{ category: "remote_only", action: does[remoteOnly] },
        };
      }),
  ];
}

/** Rows of both sides afterwards. */
function applied(rows: readonly Outcome[]): { local: Image[]; peer: Image[] } {
  const after = rows.map(({ local, peer, action }): [Image | null, Image | null] => {
    if (action === "insert_remote" || action === "update_remote") return [local, local];
    if (action === "insert_local" || action === "update_local") return [peer, peer];
    return [action === "delete_local" ? null : local, action === "delete_remote" ? null : peer];
  });
  return {
    local: sorted(after.flatMap(([row]) => (row ? [row] : []))),
    peer: sorted(after.flatMap(([, row]) => (row ? [row] : []))),
  };
}

function expectedAudit(pair: RandomPair, rows: readonly Outcome[]): AuditRow[] {
  return sorted(
    rows
      .filter((row) => row.action !== null)
      .map(({ key, local, peer, category, action }) => ({
        ...{ table_name: `public.${pair.table}`, key: ordered(key), category },
        action: action as string,
        ...{ local_row: ordered(local), remote_row: ordered(peer) },
        result_row: ordered(
          action?.startsWith("delete") ? null : action?.endsWith("remote") ? local : peer,
        ),
      })),
  );
}

/** As in the audit log, without what is generated: what it is generated from is there. */
function ordered<T extends Image | null>(image: T): T {
  if (!image) return image;
  const { made: _, ...written } = image;
  return byName(written as T);
}

const normal = (audit: readonly AuditRow[]) =>
  sorted(
    audit.map((row) => ({
      ...{ table_name: row.table_name, key: ordered(row.key), category: row.category },
      ...{ action: row.action, local_row: ordered(row.local_row) },
      ...{ remote_row: ordered(row.remote_row), result_row: ordered(row.result_row) },
    })),
  );

/** Of rows that nothing tells apart, those that the merge took. */
function decided(rows: readonly Outcome[], audit: readonly AuditRow[]): Outcome[] {
  const taken = new Map(audit.map((row) => [JSON.stringify(ordered(row.key)), row.action]));
  return rows.map((row) => {
    if (row.action !== "either") return row;
    const action = taken.get(JSON.stringify(ordered(row.key))) ?? "missing";
    return { ...row, action: action.startsWith("update_") ? action : "missing" };
  });
}

const count = <T>(items: readonly T[], is: (item: T) => boolean) => items.filter(is).length;

/** As `found`, and rows merged and left. */
function expectedCounts(rows: readonly Outcome[]): number[] {
  const of = (category: string) => count(rows, (row) => row.category === category);
  return [
    ...[of("local_only"), of("remote_only"), of("match"), of("conflict"), 0],
    count(rows, (row) => row.action !== null),
    count(rows, (row) => row.action === null && row.category !== "match"),
  ];
}

const countsOf = (row: MergeRow) => [...found(row), Number(row.rows_merged), Number(row.rows_left)];

/** Two servers with the same tables in two databases each: one to merge from here, one from there. */
export class MergeModel {
  readonly #a: Server;
  readonly #b: Server;
  readonly #random: Random;
  readonly #types: Types;

  constructor(a: Server, b: Server, random: Random) {
    this.#a = a;
    this.#b = b;
    this.#random = random;
    this.#types = new Types(a);
  }

  async prepare(): Promise<void> {
    await this.#a.query(typesSql);
    for (const [server, at] of [
      [this.#a, "direct"],
      [this.#b, "mirrored"],
    ] as const)
      for (const database of ["direct", "mirrored"]) {
        await server.createDatabase(database, { extension: false });
        // other oids for the same types
        if (server === this.#b)
          await server.query("create type unused as enum ('red')", [], { database });
        await server.query(typesSql, [], { database });
        if (database === at)
          await server.query("create extension steep_repl cascade", [], { database });
      }
  }

  /** Whether the peers have steep_repl, too: both sides then digest rows by a function of it. */
  async setPeersHaveExtension(have: boolean): Promise<void> {
    const sql = have
      ? "create extension if not exists steep_repl cascade"
      : "drop extension if exists steep_repl";
    await this.#b.query(sql, [], { database: "direct" });
    await this.#a.query(sql, [], { database: "mirrored" });
  }

  async #everywhere(statements: (side: 0 | 1) => string): Promise<void> {
    await Promise.all(
      ["direct", "mirrored"].flatMap((database) => [
        this.#a.query(statements(0), [], { database }),
        this.#b.query(statements(1), [], { database }),
      ]),
    );
  }

  async #read(database: string, pairs: readonly RandomPair[], columns = "*"): Promise<Sides> {
    const items = pairs.map((pair) => `public.${pair.table}`);
    const [local, peer] = await Promise.all([
      imagesOf(this.#a, items, { database, columns }),
      imagesOf(this.#b, items, { database, columns }),
    ]);
    return { local, peer };
  }

  /** Make random tables, merge them as the case says from either side, and drop them. */
  async check(tables: number, mergeCase: MergeCase): Promise<void> {
    const pairs = Array.from({ length: tables }, (_, i) =>
      randomPair(this.#random, `t${i}`, { stamped: true }),
    );
    await this.#everywhere((side) => pairs.map((pair) => pair.sql[side]).join("\n"));
    try {
      await this.#check(pairs, mergeCase);
    } finally {
      await this.#everywhere(() => pairs.map((pair) => `drop table ${pair.table}`).join(";"));
    }
  }

  async #check(pairs: readonly RandomPair[], mergeCase: MergeCase): Promise<void> {
    const says = `seed ${this.#random.seed}: ${JSON.stringify(mergeCase)}`;
    const before = await this.#read("direct", pairs);
    await this.#types.learn(pairs, before);
    const model = pairs.map((pair, t) =>
      outcomes(pair, this.#types, mergeCase, before.local[t] ?? [], before.peer[t] ?? []),
    );
    const [direct, mirror] = await Promise.all([
      this.#direct(pairs, mergeCase, model, says),
      this.#mirrored(pairs, mergeCase),
    ]);
    const after = await this.#read("mirrored", pairs);
    for (const [t, pair] of pairs.entries()) {
      const about = `${says} from the other side, ${JSON.stringify(pair)}`;
      expect(sorted(after.local[t] ?? []), about).toEqual(direct[t]?.local);
      expect(sorted(after.peer[t] ?? []), about).toEqual(direct[t]?.peer);
    }
    const [l = 0, r = 0, ...rest] = expectedCounts(model.flat());
    expect(countsOf(mirror), `${says} from the other side`).toEqual([r, l, ...rest]);
  }

  async #run(server: Server, peer: Server, options: MergeOptions): Promise<MergeRow> {
    const merge = await startMerge(server, peer.uri(options.database), options);
    const row = await endOfMerge(server, merge, options);
    expect(row).toMatchObject({ status: "complete", error_message: null });
    return row;
  }

  async #mirrored(pairs: readonly RandomPair[], mergeCase: MergeCase): Promise<MergeRow> {
    const tables = pairs.map((pair) => `public.${pair.table}`);
    const args = argsOf(mirrored(mergeCase));
    return this.#run(this.#b, this.#a, { tables, args, database: "mirrored" });
  }

  async #direct(
    pairs: readonly RandomPair[],
    mergeCase: MergeCase,
    model: readonly Outcome[][],
    says: string,
  ): Promise<{ local: Image[]; peer: Image[] }[]> {
    const options = {
      tables: pairs.map((pair) => `public.${pair.table}`),
      args: argsOf(mergeCase),
      database: "direct",
    };
    const versions = () => this.#read("direct", pairs, "ctid, xmin, xmax = '0' as is_free");
    const untouched = await versions();
    const dry = await this.#run(this.#a, this.#b, {
      ...options,
      args: `${options.args}, dry_run => true`,
    });
    expect(countsOf(dry), `${says} dry`).toEqual(expectedCounts(model.flat()));
    expect(await versions(), `${says} dry`).toEqual(untouched);
    expect(await this.#conflicts(dry), `${says} dry`).toEqual([]);
    expect(await auditOf(this.#a, dry, options), `${says} dry`).toEqual([]);

    const merge = await this.#run(this.#a, this.#b, options);
    expect(countsOf(merge), says).toEqual(expectedCounts(model.flat()));
    const after = await this.#read("direct", pairs);
    const audit = await auditOf(this.#a, merge, options);
    const counts = await this.#tableCounts(merge);
    const results = pairs.map((pair, t) => {
      const name = `public.${pair.table}`;
      const written = audit.filter((row) => row.table_name === name);
      const rows = decided(model[t] ?? [], written);
      const about = `${says}, ${JSON.stringify(pair)}`;
      expect(normal(written), about).toEqual(expectedAudit(pair, rows));
      const result = applied(rows);
      expect(sorted(after.local[t] ?? []), about).toEqual(result.local);
      expect(sorted(after.peer[t] ?? []), about).toEqual(result.peer);
      expect(counts.get(name), about).toEqual(expectedCounts(rows));
      return result;
    });
    await this.#again(pairs, mergeCase, options, merge, model, says);
    return results;
  }

  /** A second run finds what was left, and changes nothing. */
  async #again(
    pairs: readonly RandomPair[],
    mergeCase: MergeCase,
    options: MergeOptions,
    first: MergeRow,
    model: readonly Outcome[][],
    says: string,
  ): Promise<void> {
    const versions = () => this.#read("direct", pairs, "ctid, xmin");
    const before = await versions();
    const conflicts = await this.#conflicts(first);
    const manual = model.flat().filter((row) => row.category === "conflict" && row.action === null);
    expect(conflicts, says).toEqual(
      sorted(
        manual.map(({ key, local, peer }) => ({
          ...{ key: ordered(key), local_row: ordered(local), remote_row: ordered(peer) },
          reason: "conflict",
        })),
      ),
    );
    const after = await this.#read("direct", pairs);
    await this.#types.learn(pairs, after);
    const left = pairs.flatMap((pair, t) =>
      outcomes(pair, this.#types, mergeCase, after.local[t] ?? [], after.peer[t] ?? []),
    );
    const second = await this.#run(this.#a, this.#b, options);
    expect(countsOf(second)[5], `${says} again`).toBe(0);
    expect(countsOf(second), `${says} again`).toEqual(expectedCounts(left));
    expect(await versions(), `${says} again`).toEqual(before);
    expect(await this.#conflicts(second), `${says} again`).toEqual(conflicts);
    expect(await this.#conflicts(first), `${says} again`).toEqual([]);
  }

  async #tableCounts({ merge_id }: MergeRow): Promise<Map<string, number[]>> {
    const rows = await this.#a.query<{ name: string; counts: string[] }>(
      `select table_name as name, array[local_only_count, remote_only_count, match_count, conflict_count, unsettled_count,
         rows_merged, rows_left]::text[] as counts from steep_repl.merge_tables where merge_id = $1`,
      [merge_id],
      { database: "direct" },
    );
    return new Map(rows.map(({ name, counts }) => [name, counts.map(Number)]));
  }

  /** Conflicts that a merge left open. */
  async #conflicts({ merge_id }: MergeRow) {
    const rows = await this.#a.query<{
      key: Image;
      local_row: Image;
      remote_row: Image;
      reason: string;
    }>(
      `select key, local_row, remote_row, reason from steep_repl.merge_conflicts
       where merge_id = $1 and status = 'open'`,
      [merge_id],
      { database: "direct" },
    );
    return sorted(
      rows.map(({ key, local_row, remote_row, reason }) => ({
        ...{ key: ordered(key), local_row: ordered(local_row), remote_row: ordered(remote_row) },
        reason,
      })),
    );
  }
}

/** Two servers for the model, before and after the tests of a file. */
export function setMergeModel(
  random: Random,
  use: (model: MergeModel, a: Server, b: Server) => void,
) {
  const servers: Server[] = [];
  beforeAll(async () => {
    const settings = { fsync: "off", max_worker_processes: 16 };
    const a = await startServer({ name: "merge-model-a", settings });
    servers.push(a);
    const b = await startServer({ name: "merge-model-b", identity: "peer", settings });
    servers.push(b);
    const model = new MergeModel(a, b, random);
    await model.prepare();
    use(model, a, b);
  });
  afterAll(async () => {
    for (const server of servers) await server.destroy();
  });
}
