import { describe, expect, test } from "vitest";
import { endOfMerge, type MergeRow } from "../../support/merge.ts";
import { type MergePair, setMergePair } from "../../support/merge-pair.ts";

/* Rows that a table makes others of as they are written: they differ still, and a merge does not say that it is done with them. */

let pair: MergePair;
setMergePair("merge-otherwise", (p) => {
  pair = p;
});

const leftOf = (merge: MergeRow) =>
  pair.a.query<{ id: string; reason: string }>(
    "select key ->> 'id' as id, reason from steep_repl.merge_rows_left($1) order by 1",
    [merge.merge_id],
  );
const still = (id: string) => ({ id, reason: expect.stringContaining("differs still") });

const triggers = [
  ["changes another column", "new.changed := current_setting('port'); return new"],
  ["returns the old row", "return case when tg_op = 'UPDATE' then old else new end"],
] as const;

describe.each([
  ["as a superuser, ENABLE ALWAYS", "enable always", (args?: string) => pair.merge(args)],
  ["as a role for which triggers fire", "enable", (args?: string) => pair.mergeAsMerger(args)],
] as const)("%s", (_, enable, merge) => {
  const make = async (does: string) => {
    await pair.both(
      `create table t (id int primary key, v text, changed text); insert into t values (9, 'same', 'x');
       create function change() returns trigger language plpgsql as $$ begin ${does}; end $$;
       create trigger change before insert or update on t for each row execute function change();
       alter table t ${enable} trigger change; grant select, insert, update, delete on t to merger`,
    );
    for (const [server, v] of [
      [pair.a, "a"],
      [pair.b, "b"],
    ] as const)
      await server.query(
        `alter table t disable trigger change; insert into t values (1, '${v}', 'x'), (2, '${v}', 'x'); alter table t ${enable} trigger change`,
      );
  };

  test.each(triggers)("rows whose trigger %s are listed", async (__, does) => {
    await make(does);
    const row = await merge();
    expect(row).toMatchObject({ error_message: null, status: "complete", rows_left: "2" });
    expect(await leftOf(row)).toEqual([still("1"), still("2")]);
  });

  test("those that come out the same are not", async () => {
    await make("new.changed := 'x'; return new");
    const row = await merge();
    expect(row).toMatchObject({ error_message: null, status: "complete", rows_left: "0" });
  });
});

test("an undo lists them, too", async () => {
  await pair.both("create table t (id int primary key, v text, changed text)");
  await pair.a.query("insert into t values (1, 'a', 'x')");
  await pair.b.query("insert into t values (1, 'b', 'x')");
  const merge = await pair.merge();
  await pair.both(
    `create function change() returns trigger language plpgsql as 'begin new.changed := ''now''; return new; end';
     create trigger change before update on t for each row execute function change(); alter table t enable always trigger change`,
  );
  const [undo] = await pair.a.query<MergeRow>(
    "select * from steep_repl.undo_merge($1, peer => $2)",
    [merge.merge_id, pair.b.uri()],
  );
  if (!undo) throw new Error("no undo");
  const row = await endOfMerge(pair.a, undo);
  expect(row).toMatchObject({ error_message: null, status: "complete", rows_left: "1" });
  expect(await leftOf(row)).toEqual([still("1")]);
});

test("and a conflict that is resolved says so", async () => {
  await pair.both(
    `create table t (id int primary key, v text, changed text);
     create function change() returns trigger language plpgsql as 'begin new.changed := current_setting(''port''); return new; end';
     create trigger change before update on t for each row execute function change(); alter table t enable always trigger change`,
  );
  await pair.a.query("insert into t values (1, 'a', 'x')");
  await pair.b.query("insert into t values (1, 'b', 'x')");
  await pair.merge("strategy => 'manual'");
  const session = await pair.a.connect();
  const notices: string[] = [];
  session.on("notice", (notice) => notices.push(`${notice.message}`));
  await session.query(
    "select steep_repl.resolve_conflict(conflict_id, 'local', $1) from steep_repl.merge_conflicts where status = 'open'",
    [pair.b.uri()],
  );
  await session.end();
  expect(notices.join("\n")).toContain("was written, and differs still");
});

test("a delete that a trigger takes back is listed", async () => {
  await pair.both(
    `create table t (id int primary key, v text);
     create function back() returns trigger language plpgsql as 'begin if old.id = 2 then insert into public.t values (old.*); end if; return null; end';
     create trigger back after delete on t for each row execute function back(); alter table t enable always trigger back`,
  );
  await pair.b.query("insert into t values (1, 'b'), (2, 'b'), (3, 'b')");
  const merge = await pair.merge("remote_only => 'delete'");
  expect(merge).toMatchObject({ error_message: null, status: "complete", rows_left: "1" });
  expect(await leftOf(merge)).toEqual([still("2")]);
  expect(await pair.b.query("select id from t")).toEqual([{ id: 2 }]);
});

test.each([
  ["after insert on t for each row", "always", true],
  ["after delete on t for each statement", "replica", true],
  ["after insert or delete on t for each row", "", false],
])(
  "a trigger %s, enabled %s, that changes an equal row is named: %s",
  async (when, enabled, acts) => {
    await pair.both(
      `create table t (id int primary key, v text); insert into t values (1, 'equal');
     create function change() returns trigger language plpgsql as $$ begin update public.t set v = 'changed' where id = 1; return null; end $$;
     create trigger change ${when} execute function change(); alter table t disable trigger change`,
    );
    await pair.a.query("insert into t values (2, 'a')");
    await pair.b.query("insert into t values (3, 'b')");
    await pair.both(`alter table t enable ${enabled} trigger change`);
    const merge = await pair.merge("remote_only => 'delete'");
    expect(merge).toMatchObject({ error_message: null, status: "complete", rows_merged: "2" });
    const [row] = await pair.b.query<{ v: string }>("select v from t where id = 1");
    expect(row?.v).toBe(acts ? "changed" : "equal");
    const named = (merge.warnings ?? []).filter((w) => w.includes("public.t here and at the peer"));
    expect(named).toEqual(acts ? [expect.stringContaining("compare again afterwards")] : []);
  },
);
