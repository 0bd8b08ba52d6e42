import { expect } from "vitest";
import {
  auditOf,
  expectPaths,
  expectWholeRows,
  ledgerOf,
  leftOf,
  otherRow,
  stateOf,
} from "./ledger-case.ts";
import {
  type Course,
  crashes,
  expectMerged,
  expectReplicated,
  expectUndone,
  interruptions,
} from "./ledger-expect.ts";
import { LedgerPair, ownedRows } from "./ledger-pair.ts";
import { type LedgerTable, ledgerKinds, ledgerTypes, sidesOf, tableSql } from "./ledger-tables.ts";
import { LedgerWriter } from "./ledger-writer.ts";
import { endOfMerge, type MergeRow, mergeRow, startMerge } from "./merge.ts";
import { password } from "./merge-pair.ts";
import type { Random } from "./random.ts";
import { createRole } from "./roles.ts";
import type { Server } from "./server.ts";
import { waitUntil } from "./wait-until.ts";

const rowsOfCase = 30;
/** Why rows may be left. */
const reasons =
  /^(locked by another transaction|changed (since|while it was merged|between two writes .*)|(peer: )?(canceling statement due to lock timeout|null value in .*|duplicate key value .*|conflicting key value .*))$/;
const isOver = (row: MergeRow | undefined) =>
  row !== undefined && !["pending", "running"].includes(row.status);

/** Rows that users leave alone: replication does not wait for their locks. */
function notUsers({ kind }: LedgerTable, isPeer: boolean): string {
  const idents = [1, 2, 4, 5, 7, 8, 10].map((i) => {
    const key = kind.keyOf(i, isPeer);
    return `(${kind.ident((column) => key[kind.key.indexOf(column)] ?? "null")})`;
  });
  return `${kind.ident((column) => column)} in (${idents.join(", ")})`;
}

/** Merges and undoes tables of all kinds while users write to them, and holds what they did against what all have written down. */
export class LedgerModel {
  readonly #servers: readonly [Server, Server];
  readonly #random: Random;
  readonly #pair: LedgerPair | undefined;
  /** what was seen, for whoever counts */
  readonly seen: Record<string, number> = {};

  constructor(a: Server, b: Server, random: Random, replicates: boolean) {
    this.#servers = [a, b];
    this.#random = random;
    this.#pair = replicates ? new LedgerPair(this.#servers) : undefined;
  }

  async prepare(): Promise<void> {
    const [a, b] = this.#servers;
    await b.query("create type public.unused as enum ('red'); create table public.also_unused ()");
    for (const server of [a, b]) await server.query(ledgerTypes);
    await a.query("create extension steep_repl cascade");
    await createRole(a, "postgres", "merger");
    await b.query(`create role merger login password '${password}'`);
    await this.#pair?.prepare();
  }

  /** Who merges, and the other side for him. */
  #who({ isSuperuser }: Course): { readonly peer: string; readonly user: string } {
    const { port } = this.#servers[1];
    return isSuperuser
      ? { peer: this.#servers[1].uri(), user: "postgres" }
      : {
          peer: `host=127.0.0.1 port=${port} dbname=postgres user=merger password='${password}'`,
          user: "merger",
        };
  }

  #count(what: string): void {
    this.seen[what] = (this.seen[what] ?? 0) + 1;
  }

  /** One case, of some kinds of tables; all of them are made and dropped. */
  async check({ mayCrash = false } = {}): Promise<void> {
    const random = this.#random;
    const collides = this.#pair === undefined && random.next() < 0.25;
    const usable = ledgerKinds.filter((kind) => collides || !kind.collides);
    const kinds = random.shuffle(usable).slice(0, 4);
    const tables = kinds.map((kind, at): LedgerTable => ({ name: `t${at}`, kind }));
    const course: Course = {
      strategy: random.pick(["prefer-local", "prefer-remote"]),
      localOnly: random.pick(["push", "push", "keep", "delete"]),
      remoteOnly: random.pick(["pull", "pull", "keep", "delete"]),
      interruption: random.pick([...interruptions, ...(mayCrash ? crashes : [])]),
      isSuperuser: random.next() < 0.6,
      writesBeside: random.next() < 0.7,
      locksUndo: random.next() < 0.3,
      notes: this.#pair === undefined || random.next() < 0.6,
    };
    const [a, b] = this.#servers;
    const rows = tables.map(({ kind }) => {
      const both = sidesOf(random, kind, rowsOfCase);
      return this.#pair === undefined ? both : ownedRows(both);
    });
    await a.query(tables.map((t, at) => tableSql(t, rows[at]?.[0] ?? [], false)).join(";"));
    await b.query(tables.map((t, at) => tableSql(t, rows[at]?.[1] ?? [], true)).join(";"));
    for (const server of this.#servers)
      await server.query("grant all on all tables in schema public to merger");
    const says = `seed ${random.seed}: ${JSON.stringify({ kinds: kinds.map((k) => k.name), ...course })}`;
    await this.#pair?.join(tables, course.notes);
    try {
      await this.#check(tables, course, says);
    } finally {
      await this.#pair?.part();
      for (const server of this.#servers)
        await server.query(
          `${tables.map((t) => `drop table public.${t.name}`).join(";")}; delete from public.ledger`,
        );
    }
  }

  async #check(tables: readonly LedgerTable[], course: Course, says: string): Promise<void> {
    const [a, b] = this.#servers;
    const writers = [
      new LedgerWriter(a, false, tables, this.#random, rowsOfCase + 10, this.#pair !== undefined),
      new LedgerWriter(b, true, tables, this.#random, rowsOfCase + 10, this.#pair !== undefined),
    ];
    const before = await stateOf(this.#servers, tables);
    if (course.writesBeside) for (const writer of writers) writer.start();
    const merge = await this.#merge(tables, course, writers);
    if (course.writesBeside) for (const writer of writers) await writer.stop();
    await this.#pair?.caughtUp();
    const merged = await stateOf(this.#servers, tables);
    const audit = await auditOf(a, merge, tables);
    this.#count(
      `merge ${merge.status}${merge.error_sqlstate === null ? "" : ` ${merge.error_sqlstate}`}`,
    );
    const left = await leftOf(a, merge, tables);
    const said = `${says} ${merge.merge_id} ${merge.status} ${merge.error_message}`;
    const written = async () => [
      ...(await ledgerOf(this.#servers)),
      ...((await this.#pair?.replicated()) ?? []),
    ];
    const users = await ledgerOf(this.#servers);
    // what subscriptions wrote of what users did on the other side
    const unknown = async () =>
      new Set(course.notes ? [] : (await ledgerOf(this.#servers)).map(({ row }) => otherRow(row)));
    expectPaths([...(await written()), ...audit], before, merged, said, await unknown());
    if (this.#pair !== undefined && merge.status === "complete")
      expectReplicated(users, before, merged, left, said);
    if (merge.status === "complete") expectMerged(course, before, merged, users, left, said);
    else
      expect(merge.error_message, said).toMatch(/^\d+ rows to be merged have values that a unique/);
    // nothing stands in the way of what the sides begin with
    if (
      !course.writesBeside &&
      course.interruption === "none" &&
      !tables.some((t) => t.kind.collides)
    )
      expect(merge, said).toMatchObject({ status: "complete" });

    await writers[0]?.write(10);
    await writers[1]?.write(10);
    await this.#pair?.caughtUp();
    const found = await stateOf(this.#servers, tables);
    const undo = await this.#undo(merge, tables, course);
    const undone = await stateOf(this.#servers, tables);
    const undoAudit = await auditOf(a, undo, tables);
    const undoLeft = await leftOf(a, undo, tables);
    const toSay = `${said}, ${undo.merge_id} ${undo.status} ${undo.error_message}`;
    expect(undo, toSay).toMatchObject({ status: "complete", error_message: null });
    expectPaths(
      [...(await written()), ...audit, ...undoAudit],
      before,
      undone,
      toSay,
      await unknown(),
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
    const [a] = this.#servers;
    const { peer, user } = this.#who(course);
    const args = `strategy => '${course.strategy}', local_only => '${course.localOnly}', remote_only => '${course.remoteOnly}'`;
    const options = { tables: tables.map((t) => `public.${t.name}`), args, user };
    if (course.interruption === "none") return endOfMerge(a, await startMerge(a, peer, options));
    // as long as some rows are locked, a merge does not end
    const lockers = await Promise.all(this.#servers.map((server) => server.connect()));
    for (const [at, locker] of lockers.entries())
      await locker.query(
        `begin; ${tables.map((t) => `select from (select from public.${t.name} where ${notUsers(t, at === 1)} limit 3 for update) x`).join(";")}`,
      );
    const merge = await startMerge(a, peer, options);
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
    for (const writer of writers) await writer.write(40);
    // that of a server that has crashed is gone
    for (const locker of lockers) await locker.end();
    if (row === undefined || row.status === "complete" || row.error_sqlstate === "23505")
      return row ?? merge;
    await this.#pair?.caughtUp();
    await a.query("select steep_repl.retry_operation($1, $2)", [merge.operation_id, peer], {
      user,
    });
    return endOfMerge(a, merge);
  }

  async #interrupt(merge: MergeRow, { interruption }: Course): Promise<void> {
    const [a, b] = this.#servers;
    const end =
      "select pg_terminate_backend(pid, 5000) from pg_stat_activity where application_name like $1";
    if (interruption === "crash here" || interruption === "crash there") {
      const server = interruption === "crash here" ? a : b;
      await server.kill9();
      await server.start();
    } else if (interruption === "cancel")
      await a.query(
        "select steep_repl.cancel_merge($1) from steep_repl.merges where merge_id = $1 and status = 'running'",
        [merge.merge_id],
      );
    else if (interruption === "peer") await b.query(end, ["steep_repl peer"]);
    else await a.query(end, [`steep_repl%${merge.merge_id}%`]);
  }

  async #undo(merge: MergeRow, tables: readonly LedgerTable[], course: Course): Promise<MergeRow> {
    const { peer, user } = this.#who(course);
    const [a, b] = this.#servers;
    const locker = await b.connect();
    if (course.locksUndo)
      await locker.query(`begin; select from public.${tables[0]?.name} limit 5 for update`);
    const [row] = await a.query<MergeRow>(
      "select * from steep_repl.undo_merge($1, $2)",
      [merge.merge_id, peer],
      { user },
    );
    if (!row) throw new Error("undo_merge answered no row");
    const undone = await endOfMerge(a, row);
    await locker.query("rollback");
    await locker.end();
    return undone;
  }
}
