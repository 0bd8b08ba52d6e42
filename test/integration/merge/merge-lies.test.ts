import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { type Fate, LyingPeer } from "../../support/lying-peer.ts";
import { auditOf, endOfMerge, imagesOf, type MergeRow, runMerge } from "../../support/merge.ts";
import { type MergePair, setMergePair } from "../../support/merge-pair.ts";

/* A peer whose answers are changed on their way: what is written here is what was compared, locked and written down. */

let pair: MergePair;
let peer: LyingPeer;
setMergePair(
  "merge-lies",
  (p) => {
    pair = p;
  },
  { "steep_repl.lock_timeout": "1s" },
);
beforeAll(async () => {
  peer = await LyingPeer.before(pair.b.port);
});
afterEach(() => {
  peer.lie = (text) => text;
  peer.fate = () => "told";
  peer.replace = (query) => query;
});
afterAll(() => peer.close());

const through = () =>
  `host=127.0.0.1 port=${peer.port} dbname=postgres user=postgres sslmode=disable`;
const merge = (args: string) => runMerge(pair.a, through(), { args, tables: ["public.t"] });
const rowsHere = async () => (await imagesOf(pair.a, ["public.t order by a"]))[0];

/** A table of this key, with a row 500 that is equal and, at the peer only, others. */
async function make(key: string, here: string, there: string): Promise<void> {
  await pair.both(`create table t (${key}, v text); insert into t (a, v) values (500, 'equal')`);
  await pair.a.query(`insert into t (a, v) values ${here}`);
  await pair.b.query(`insert into t (a, v) values ${there}`);
}

async function expectRefused(row: MergeRow, before: unknown): Promise<void> {
  expect(row).toMatchObject({ status: "failed", error_sqlstate: "08P01", rows_merged: "0" });
  expect(await rowsHere()).toEqual(before);
  expect(await auditOf(pair.a, row)).toEqual([]);
}

async function resolve(of: MergeRow, choice: string) {
  const [conflict] = await pair.a.query<{ id: string }>(
    "select conflict_id as id from steep_repl.merge_conflicts where merge_id = $1",
    [of.merge_id],
  );
  return pair.a.query("select * from steep_repl.resolve_conflict($1, $2, $3)", [
    conflict?.id,
    choice,
    through(),
  ]);
}

describe("the image of another row than was asked for", () => {
  const lie = (from: string, to: string) => {
    peer.lie = (text) => (/^\{.*\n/.test(text) ? text.replaceAll(from, to) : text);
  };

  test.each([
    ["updated", "int", "(1, 'here')", "(1, 'there')", '"a" : "1"', '"a" : "500"'],
    [
      "inserted",
      "int",
      "(2, 'same')",
      "(2, 'same'), (3001, 'there')",
      '"a" : "3001"',
      '"a" : "9999"',
    ],
    [
      "updated, of another spelling",
      "numeric",
      "(1.0, 'here')",
      "(1.00, 'there')",
      '"a" : "1.00"',
      '"a" : "500.00"',
    ],
  ])("is not %s", async (_, type, here, there, from, to) => {
    await make(`a ${type} primary key`, here, there);
    const before = await rowsHere();
    lie(from, to);
    await expectRefused(await merge("strategy => 'prefer-remote'"), before);
  });

  test("does not get another key than it says, where that is generated", async () => {
    await make(
      "a int, id int generated always as (a + 1) stored primary key",
      "(1, 'same')",
      "(1, 'same'), (3000, 'there')",
    );
    const before = await rowsHere();
    lie('"a" : "3000"', '"a" : "9998"');
    await expectRefused(await merge("strategy => 'prefer-remote'"), before);
  });

  test("is not written to settle a conflict", async () => {
    await make("a int primary key", "(1, 'here')", "(1, 'there')");
    const found = await merge("strategy => 'manual'");
    const before = await rowsHere();
    let reads = 0;
    peer.fate = (query) => {
      // the first is what the caller has decided by
      if (/string_agg\(x\.r/.test(query) && ++reads === 2) lie('"a" : "1"', '"a" : "500"');
      return "told";
    };
    await expect(resolve(found, "remote")).rejects.toMatchObject({ code: "08P01" });
    expect(await rowsHere()).toEqual(before);
    expect(await auditOf(pair.a, found)).toEqual([]);
  });

  test("does not come in where the log says what an undo has left", async () => {
    await make("a int primary key", "(1, 'here')", "(1, 'there')");
    const done = await merge("strategy => 'prefer-local'");
    await pair.b.query("update t set v = 'changed'");
    lie('"a" : "1"', '"a" : "500"');
    const [undo] = await pair.a.query<MergeRow>("select * from steep_repl.undo_merge($1, $2)", [
      done.merge_id,
      through(),
    ]);
    if (undo)
      expect(await endOfMerge(pair.a, undo)).toMatchObject({
        status: "failed",
        error_sqlstate: "08P01",
      });
    expect(
      await pair.a.query("select from steep_repl.merge_conflicts where merge_id = $1", [
        undo?.merge_id,
      ]),
    ).toEqual([]);
  });

  test.each([
    ["numeric", "(9.0, 'here'), (10.0, 'here')", "(9.00, 'there'), (10.00, 'there')"],
    ["boolean", "(true, 'here')", "(true, 'there'), (false, 'new')"],
    ["char(5)", "('x', 'here')", "('x', 'there'), ('y', 'new')"],
    ["inet", "('::1', 'here')", "('::1', 'there'), ('::2', 'new')"],
    ["xml", "('<a/>', 'here')", "('<a/>', 'there'), ('<b/>', 'new')"],
  ])("is no other spelling of the same %s", async (type, here, there) => {
    await pair.both(`create table t (a ${type} not null, v text)`);
    await pair.a.query(`insert into t values ${here}`);
    await pair.b.query(`insert into t values ${there}`);
    expect(
      await merge(`strategy => 'prefer-remote', primary_keys => '{"public.t": ["a"]}'`),
    ).toMatchObject({
      ...{ status: "complete", error_message: null, rows_merged: "2" },
    });
    const values = await Promise.all(
      [pair.a, pair.b].map((server) => imagesOf(server, ["public.t order by v"], { columns: "v" })),
    );
    expect(values[0]).toEqual(values[1]);
  });
});

/** The COMMIT of rows that were written at the peer, or of locks, and what is asked after it. */
class AtCommit {
  #hasBegun = false;
  isOver = false;
  /** Whether this is it; and not of a transaction that only reads. */
  is(query: string): boolean {
    if (/^begin$/.test(query)) this.#hasBegun = true;
    const isIt = this.#hasBegun && /^commit/.test(query);
    if (isIt) this.#hasBegun = false;
    this.isOver ||= isIt;
    return isIt;
  }
}

/** The answer to a COMMIT has this fate, and that to what is asked about it is denied if `alsoAsked` says so. */
function atCommit(fate: Fate, alsoDenied = /^(?!)/): void {
  const commit = new AtCommit();
  peer.fate = (query) => {
    if (!commit.isOver) return commit.is(query) ? fate : "told";
    return alsoDenied.test(query) ? "denied" : "told";
  };
}

function rollBackInstead(): void {
  const commit = new AtCommit();
  peer.replace = (query) =>
    !commit.isOver && commit.is(query) ? query.replace(/^commit/, "rollback") : query;
}

const valueAt = async (server: MergePair["a"]) =>
  (await server.query<{ v: string }>("select v from t where a = 1")).map((row) => row.v);
const intents = () => pair.a.query("select peer_xid from steep_repl._merge_intents");

describe("a batch that the peer has committed is in the audit log", () => {
  test.each<[string, Fate, RegExp]>([
    ["an error comes in place of that", "denied", /^(?!)/],
    [
      "an error comes, and one to the question what became of it",
      "denied",
      /^select pg_xact_status/,
    ],
    ["the connection is lost", "lost", /^(?!)/],
  ])("though %s", async (_, fate, alsoDenied) => {
    await make("a int primary key", "(1, 'here')", "(1, 'there')");
    atCommit(fate, alsoDenied);
    const row = await merge("strategy => 'prefer-local'");
    expect(row).toMatchObject({ status: "failed", rows_merged: "1" });
    expect(await valueAt(pair.b)).toEqual(["here"]);
    expect(await auditOf(pair.a, row)).toMatchObject([
      { action: "update_remote", key: { a: "1" }, remote_row: { v: "there" } },
    ]);
    expect(await intents()).toEqual([]);
  });

  test("and one that was rolled back instead of committed is not, nor is the merge complete", async () => {
    await make("a int primary key", "(1, 'here')", "(1, 'there')");
    rollBackInstead();
    const row = await merge("strategy => 'prefer-local'");
    expect(row).toMatchObject({ status: "failed", error_sqlstate: "40000", rows_merged: "0" });
    expect(await valueAt(pair.b)).toEqual(["there"]);
    expect(await auditOf(pair.a, row)).toEqual([]);
    expect(await intents()).toEqual([]);
  });
});

describe("settling a conflict", () => {
  let found: MergeRow;
  beforeEach(async () => {
    await make("a int primary key", "(1, 'here')", "(1, 'there')");
    found = await merge("strategy => 'manual'");
  });
  const written = [{ action: "update_remote", key: { a: "1" }, remote_row: { v: "there" } }];

  test.each<[string, Fate]>([
    ["the connection is lost", "lost"],
    ["an error comes", "denied"],
  ])("leaves a record where %s at COMMIT", async (_, fate) => {
    atCommit(fate);
    expect(await resolve(found, "local")).toMatchObject([{ status: "resolved", choice: "local" }]);
    expect(await valueAt(pair.b)).toEqual(["here"]);
    expect(await auditOf(pair.a, found)).toMatchObject(written);
    expect(await intents()).toEqual([]);
  });

  test.each(["local", "remote"])(
    "leaves a record where nobody can tell, and the next call, for %s, knows",
    async (choice) => {
      atCommit("lost", /pg_xact_status/);
      expect(await resolve(found, "local")).toMatchObject([{ status: "open", choice: null }]);
      expect(await valueAt(pair.b)).toEqual(["here"]);
      expect(await auditOf(pair.a, found)).toMatchObject(written);
      peer.fate = () => "told";
      expect(await resolve(found, choice)).toMatchObject([{ status: "resolved", choice: "local" }]);
      expect(await auditOf(pair.a, found)).toMatchObject(written);
      expect(await intents()).toEqual([]);
      await expect(resolve(found, choice)).rejects.toMatchObject({ code: "55000" });
    },
  );

  test("leaves none of what was rolled back", async () => {
    rollBackInstead();
    await expect(resolve(found, "local")).rejects.toMatchObject({ code: "40000" });
    expect(await auditOf(pair.a, found)).toEqual([]);
    expect(await intents()).toEqual([]);
    expect(await resolve(found, "local")).toMatchObject([{ status: "resolved" }]);
    expect(await auditOf(pair.a, found)).toMatchObject(written);
  });

  test("lets go of the row here when the peer hangs at COMMIT", async () => {
    atCommit("silent");
    const settling = resolve(found, "remote");
    await expect(settling).rejects.toMatchObject({
      ...{ code: "08006", message: "peer does not answer" },
    });
    expect(await valueAt(pair.a)).toEqual(["here"]);
    expect(await auditOf(pair.a, found)).toEqual([]);
  });
});
