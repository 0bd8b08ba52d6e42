import { expect } from "vitest";
import {
  auditOf,
  byRow,
  expectPaths,
  expectWholeRows,
  ledgerOf,
  leftOf,
  type State,
  sides,
  stateOf,
  tokenOf,
  type Written,
} from "./ledger-case.ts";
import { type LedgerTable, ledgerKinds, ledgerTypes, sidesOf, tableSql } from "./ledger-tables.ts";
import { LedgerWriter } from "./ledger-writer.ts";
import { endOfMerge, type MergeRow, mergeRow, startMerge } from "./merge.ts";
import type { Random } from "./random.ts";
import type { Server } from "./server.ts";
import { waitUntil } from "./wait-until.ts";

const interruptions = ["none", "cancel", "coordinator", "peer"] as const;

/** How a case is merged, and what becomes of it meanwhile. */
interface Course {
  readonly strategy: "prefer-local" | "prefer-remote";
  readonly localOnly: "push" | "keep" | "delete";
  readonly remoteOnly: "pull" | "keep" | "delete";
  readonly interruption: (typeof interruptions)[number];
  readonly writesBeside: boolean;
  readonly locksUndo: boolean;
}

const rowsOfCase = 30;
/** Why rows may be left. */
const reasons =
  /^(locked by another transaction|changed (since|while it was merged|between two writes .*)|(peer: )?(canceling statement due to lock timeout|null value in .*|duplicate key value .*|conflicting key value .*))$/;
const isOver = (row: MergeRow | undefined) =>
  row !== undefined && !["pending", "running"].includes(row.status);

/** Merges and undoes tables of all kinds while users write to them, and holds what they did against what all have written down. */
export class LedgerModel {
  readonly #servers: readonly [Server, Server];
  readonly #random: Random;
  /** what was seen, for whoever counts */
  readonly seen: Record<string, number> = {};

  constructor(a: Server, b: Server, random: Random) {
    this.#servers = [a, b];
    this.#random = random;
  }

  async prepare(): Promise<void> {
    const [a, b] = this.#servers;
    await b.query("create type public.unused as enum ('red'); create table public.also_unused ()");
    for (const server of [a, b]) await server.query(ledgerTypes);
    await a.query("create extension steep_repl cascade");
  }

  #count(what: string): void {
    this.seen[what] = (this.seen[what] ?? 0) + 1;
  }

  /** One case, of some kinds of tables; all of them are made and dropped. */
  async check(kinds = this.#random.shuffle(ledgerKinds).slice(0, 4)): Promise<void> {
    const random = this.#random;
    const tables = kinds.map((kind, at): LedgerTable => ({ name: `t${at}`, kind }));
    const course: Course = {
      strategy: random.pick(["prefer-local", "prefer-remote"]),
      localOnly: random.pick(["push", "push", "keep", "delete"]),
      remoteOnly: random.pick(["pull", "pull", "keep", "delete"]),
      interruption: random.pick(interruptions),
      writesBeside: random.next() < 0.7,
      locksUndo: random.next() < 0.3,
    };
    const [a, b] = this.#servers;
    const rows = tables.map(({ kind }) => sidesOf(random, kind, rowsOfCase));
    await a.query(tables.map((t, at) => tableSql(t, rows[at]?.[0] ?? [], false)).join(";"));
    await b.query(tables.map((t, at) => tableSql(t, rows[at]?.[1] ?? [], true)).join(";"));
    const says = `seed ${random.seed}: ${JSON.stringify({ kinds: kinds.map((k) => k.name), ...course })}`;
    try {
      await this.#check(tables, course, says);
    } finally {
      for (const server of this.#servers)
        await server.query(
          `${tables.map((t) => `drop table public.${t.name}`).join(";")}; delete from public.ledger`,
        );
    }
  }

  async #check(tables: readonly LedgerTable[], course: Course, says: string): Promise<void> {
    const [a, b] = this.#servers;
    const writers = [
      new LedgerWriter(a, false, tables, this.#random, rowsOfCase + 10),
      new LedgerWriter(b, true, tables, this.#random, rowsOfCase + 10),
    ];
    const before = await stateOf(this.#servers, tables);
    if (course.writesBeside) for (const writer of writers) writer.start();
    const merge = await this.#merge(tables, course, writers);
    if (course.writesBeside) for (const writer of writers) await writer.stop();
    const merged = await stateOf(this.#servers, tables);
    const audit = await auditOf(a, merge, tables);
    this.#count(
      `merge ${merge.status}${merge.error_sqlstate === null ? "" : ` ${merge.error_sqlstate}`}`,
    );
    const left = await leftOf(a, merge, tables);
    const said = `${says} ${merge.merge_id} ${merge.status} ${merge.error_message}`;
    expectPaths([...(await ledgerOf(this.#servers)), ...audit], before, merged, said);
    if (merge.status === "complete")
      expectMerged(course, before, merged, [...(await ledgerOf(this.#servers))], left, said);
    else expect(merge, said).toMatchObject({ error_sqlstate: "23505" });
    // nothing stands in the way of what the sides begin with
    if (!course.writesBeside && course.interruption === "none")
      expect(merge, said).toMatchObject({ status: "complete" });

    await writers[0]?.write(10);
    await writers[1]?.write(10);
    const found = await stateOf(this.#servers, tables);
    const undo = await this.#undo(merge, tables, course);
    const undone = await stateOf(this.#servers, tables);
    const undoAudit = await auditOf(a, undo, tables);
    const undoLeft = await leftOf(a, undo, tables);
    const toSay = `${said}, ${undo.merge_id} ${undo.status} ${undo.error_message}`;
    expect(undo, toSay).toMatchObject({ status: "complete", error_message: null });
    expectPaths(
      [...(await ledgerOf(this.#servers)), ...audit, ...undoAudit],
      before,
      undone,
      toSay,
    );
    expectUndone(audit, found, undone, undoLeft, toSay);
    expectWholeRows([before, merged, found, undone], tables, toSay);
    for (const reason of [...left.values(), ...undoLeft.values()])
      expect(reason, toSay).toMatch(reasons);
    for (const [what, rows] of [
      ["left by a merge", left],
      ["left by an undo", undoLeft],
    ] as const)
      for (const reason of rows.values()) this.#count(`${what}: ${reason.replace(/".*"/, '"…"')}`);
  }

  /** A merge to its end; one that is interrupted goes on after users have written. */
  async #merge(
    tables: readonly LedgerTable[],
    course: Course,
    writers: readonly LedgerWriter[],
  ): Promise<MergeRow> {
    const [a, b] = this.#servers;
    const args = `strategy => '${course.strategy}', local_only => '${course.localOnly}', remote_only => '${course.remoteOnly}'`;
    const options = { tables: tables.map((t) => `public.${t.name}`), args };
    if (course.interruption === "none") return endOfMerge(a, await startMerge(a, b.uri(), options));
    // as long as some rows are locked, a merge does not end
    const lockers = await Promise.all(this.#servers.map((server) => server.connect()));
    for (const locker of lockers)
      await locker.query(
        `begin; ${tables.map((t) => `select from (select from public.${t.name} limit 3 for update) x`).join(";")}`,
      );
    const merge = await startMerge(a, b.uri(), options);
    await waitUntil(
      () => mergeRow(a, merge),
      (row) => isOver(row) || Number(row?.rows_merged) > 0,
      `${merge.merge_id} has merged something`,
    );
    await this.#interrupt(merge, course);
    const row = await waitUntil(
      () => mergeRow(a, merge),
      isOver,
      `${merge.merge_id} is interrupted`,
    );
    this.#count(`${course.interruption}: ${row?.status}`);
    for (const writer of writers) await writer.write(15);
    for (const locker of lockers) {
      await locker.query("rollback");
      await locker.end();
    }
    if (row === undefined || row.status === "complete" || row.error_sqlstate === "23505")
      return row ?? merge;
    await a.query("select steep_repl.retry_operation($1, $2)", [merge.operation_id, b.uri()]);
    return endOfMerge(a, merge);
  }

  async #interrupt(merge: MergeRow, { interruption }: Course): Promise<void> {
    const [a, b] = this.#servers;
    const end =
      "select pg_terminate_backend(pid, 5000) from pg_stat_activity where application_name like $1";
    if (interruption === "cancel")
      await a.query(
        "select steep_repl.cancel_merge($1) from steep_repl.merges where merge_id = $1 and status = 'running'",
        [merge.merge_id],
      );
    else if (interruption === "peer") await b.query(end, ["steep_repl peer"]);
    else await a.query(end, [`steep_repl%${merge.merge_id}%`]);
  }

  async #undo(
    merge: MergeRow,
    tables: readonly LedgerTable[],
    { locksUndo }: Course,
  ): Promise<MergeRow> {
    const [a, b] = this.#servers;
    const locker = await b.connect();
    if (locksUndo)
      await locker.query(`begin; select from public.${tables[0]?.name} limit 5 for update`);
    const [row] = await a.query<MergeRow>("select * from steep_repl.undo_merge($1, $2)", [
      merge.merge_id,
      b.uri(),
    ]);
    if (!row) throw new Error("undo_merge answered no row");
    const undone = await endOfMerge(a, row);
    await locker.query("rollback");
    await locker.end();
    return undone;
  }
}

/** Rows that nobody wrote to but the merge, and that it does not say to have left, are what its strategy makes of them. */
function expectMerged(
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

/** Each row has what it had before the last writes of the merge that follow each other, unless somebody has changed it, or it is listed. */
function expectUndone(
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
}
