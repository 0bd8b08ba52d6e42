import { describe, expect, test } from "vitest";
import { runApply } from "../../support/apply.ts";
import { type Archive, sections } from "../../support/archive.ts";
import {
  asLoader,
  evilFile,
  type HostileStage,
  setHostileStage,
  target,
} from "../../support/hostile.ts";
import { hasOldStrings } from "../../support/old-strings.ts";
import { digests } from "../../support/snapshots.ts";

let stage: HostileStage;
setHostileStage("apply-hostile", (made) => {
  stage = made;
});

/** SQL that tries something, and raises what became of it as a warning. */
const attempt = (sql: string) => `
  do $attempt$ begin
    ${sql};
    raise exception 'it worked' using errcode = 'ZZ999';
  exception when others then
    if sqlstate = 'ZZ999' then raise; end if;
    raise log 'attempt: % %', sqlstate, sqlerrm;
  end $attempt$;`;

const ownId = "(select id from steep_repl.work_queue where status = 'running')";

/** What a role without the rights must not get done, with its SQLSTATE where that is not 42501. */
const crimes: readonly (readonly [sql: string, sqlstate?: string])[] = [
  ["create role evil"],
  ["insert into public.secret values (2, 'evil')"],
  ["perform v from public.secret"],
  ["drop table public.secret", "42501"],
  ["perform pg_read_file('/etc/passwd')"],
  [`copy public.note from program 'touch ${evilFile}'`],
  ["copy public.note from '/etc/passwd'"],
  ["set role postgres"],
  ["set role stranger"],
  ["set session authorization postgres"],
  ["set session_replication_role = replica"],
  ["alter role loader superuser"],
  ["grant pg_read_server_files to loader"],
  [
    "perform pg_terminate_backend(pid) from pg_stat_activity where application_name = 'steep_repl launcher'",
  ],
  [
    `insert into steep_repl._apply_done select ${ownId}, g, o from generate_series(1, 9999) g, unnest('{-1,0}'::int[]) o`,
  ],
  ["delete from steep_repl._apply_done"],
  ["update steep_repl.snapshots set status = 'complete'"],
  [
    "insert into steep_repl.snapshots (snapshot_id, operation_id, requested_by, requested_by_oid, system_identifier, database_oid) values ('evil', 1, 'postgres', 10, 1, 1)",
  ],
  ["update steep_repl.work_queue set status = 'complete'"],
  ["update steep_repl.work_queue set requested_by = 'postgres', requested_by_oid = 10"],
  ["delete from steep_repl.work_queue"],
  ["truncate steep_repl.work_queue"],
  [
    "insert into steep_repl._job_directories (operation_id, path, token, system_identifier, database_oid) values (1, '/etc', 'x', 1, 1)",
  ],
  [
    "create trigger evil before insert on steep_repl._apply_done execute function steep_repl._guard_workers_only()",
  ],
  ["alter table steep_repl._apply_done disable row level security"],
  [
    "create or replace function steep_repl._guard_workers_only() returns trigger language plpgsql as 'begin return null; end'",
  ],
  ["drop extension steep_repl"],
  ["perform steep_repl._random_id() from pg_authid"],
];

describe("an entry of the archive, applied by a plain role, cannot", () => {
  test.each(crimes)("%s", async (sql, sqlstate = "42501") => {
    const row = await stage.apply(
      await stage.forge((a) => a.addSql(`do $$ begin ${sql}; end $$;`)),
    );
    expect(row).toMatchObject({ status: "failed", error_sqlstate: sqlstate });
    expect(row.error_message).toContain("Statement: ");
  });

  test("do any of it, nor be believed, where it catches the errors and goes on", async () => {
    const path = await stage.forge((a) => a.addSql(crimes.map(([sql]) => attempt(sql)).join("\n")));
    await stage.expectWhole(await stage.apply(path));
    const log = await stage.log();
    expect([...log.matchAll(/LOG: +attempt: (\w{5})/g)].map(([, code]) => code)).toEqual(
      crimes.map(([, sqlstate = "42501"]) => sqlstate),
    );
  });

  test("do it with triggers off, where the role may set that", async () => {
    await stage.server.query("grant set on parameter session_replication_role to loader");
    const written = crimes.map(([sql]) => sql).filter((sql) => /steep_repl\./.test(sql));
    const path = await stage.forge((a) =>
      a.addSql(`set session_replication_role = replica; ${written.map(attempt).join("\n")}`),
    );
    const row = await stage.apply(path);
    await stage.server.query("revoke set on parameter session_replication_role from loader");
    await stage.expectWhole(row);
  });

  test.each([
    ["begin", /cannot contain such a statement|SPI_ERROR_TRANSACTION/],
    ["commit", /cannot contain such a statement/],
    ["rollback", /cannot contain such a statement/],
    ["savepoint s", /cannot contain such a statement/],
    ["prepare transaction 'evil'", /cannot contain such a statement/],
    ["copy public.item from stdin", /cannot contain such a statement/],
    ["copy public.item to stdout", /cannot contain such a statement/],
    ["do $$ begin commit; end $$", /invalid transaction termination/],
    ["do $$ begin rollback; end $$", /invalid transaction termination/],
    ["vacuum", /VACUUM cannot/],
    ["create database evil", /CREATE DATABASE cannot|permission denied/],
    ["listen evil", /LISTEN/],
    ["create index concurrently on public.item (v)", /CREATE INDEX CONCURRENTLY cannot/],
    ["discard all", /DISCARD ALL cannot/],
  ])("end or leave its transaction: %s", async (sql, says) => {
    const row = await stage.apply(
      await stage.forge((a) => a.addSql(`create table public.half (id int); ${sql};`)),
    );
    expect(row.status).toBe("failed");
    expect(row.error_message).toMatch(says);
    expect(await stage.server.query("select to_regclass('public.half') as t", [], target)).toEqual([
      { t: null },
    ]);
    expect(await stage.server.query("select from pg_prepared_xacts")).toEqual([]);
  });
});

describe("code that the archive makes and the load runs has the requester's rights:", () => {
  const crime = `
    create function public.crime() returns boolean language plpgsql as $$ begin
      insert into public.secret values (2, 'evil'); return true; end $$;
    create function public.pure_crime() returns boolean immutable language plpgsql as $$ begin
      return public.crime(); end $$;`;
  const trigger = `
    create function public.crime_trigger() returns trigger language plpgsql as $$ begin
      perform public.crime(); return new; end $$;`;
  const tableWith = (tag: string, sql: string) => (a: Archive) => {
    const table = a.entry("TABLE", tag);
    table.defn = `${crime}${trigger}${table.defn}\n${sql}`;
  };
  test.each<[what: string, edit: (archive: Archive) => unknown]>([
    [
      "a default",
      (a) => {
        tableWith("note", "alter table public.note alter v set default public.crime()::text;")(a);
        const data = a.entry("TABLE DATA", "note");
        data.copyStmt = "COPY public.note (id, item) FROM stdin;\n";
        return a.setData("note", "1\t1\n", 1);
      },
    ],
    ["a check", tableWith("note", "alter table public.note add check (public.crime());")],
    [
      "a domain's check",
      tableWith(
        "note",
        `create domain public.d as text check (public.crime());
         alter table public.note alter v type public.d using v::text;`,
      ),
    ],
    [
      "a generated column",
      tableWith(
        "note",
        `alter table public.note add g boolean generated always as (public.pure_crime()) stored;`,
      ),
    ],
    [
      "a trigger before each row",
      tableWith(
        "note",
        "create trigger t before insert on public.note for each row execute function public.crime_trigger();",
      ),
    ],
    [
      "a trigger after the statement",
      tableWith(
        "note",
        "create trigger t after insert on public.note execute function public.crime_trigger();",
      ),
    ],
    [
      "a trigger at the commit",
      tableWith(
        "note",
        `create constraint trigger t after insert on public.note deferrable initially deferred
           for each row execute function public.crime_trigger();`,
      ),
    ],
    [
      "a trigger that fires always",
      tableWith(
        "note",
        `create trigger t before insert on public.note for each row execute function public.crime_trigger();
         alter table public.note enable always trigger t;`,
      ),
    ],
    [
      "an index's expression",
      tableWith("note", "create index on public.note ((public.pure_crime()));"),
    ],
    [
      "an index's expression, built after the load",
      (a) => {
        a.entry("TABLE", "note").defn += crime;
        a.add({
          section: sections.postData,
          desc: "INDEX",
          defn: "create index on public.note ((public.pure_crime()));",
        });
      },
    ],
  ])("%s", async (_, edit) => {
    const row = await stage.apply(await stage.forge(edit));
    expect(row).toMatchObject({ status: "failed", error_sqlstate: "42501" });
    expect(row.error_message).toContain("permission denied for table secret");
    expect((await digests(stage.server, "target"))["public.note"] ?? "0 0").toMatch(/^(0|100) /);
  });
});

describe("what an entry sets does not reach the next one:", () => {
  const watched = [
    ...["role", "session_replication_role", "search_path", "row_security", "DateStyle"],
    ...[
      "default_transaction_read_only",
      "statement_timeout",
      "lock_timeout",
      "check_function_bodies",
    ],
    ...["default_table_access_method", "client_min_messages", "standard_conforming_strings"],
    ...["transaction_timeout", "client_encoding", "evil.flag", "synchronous_commit"],
  ];
  const look = (into: string) => `
    create table public.${into} as select s.name, nullif(current_setting(s.name, true), '') as value, current_user as who,
      session_user as session from unnest('{${watched.join(",")}}'::text[]) s(name);`;

  /** Two entries that look, and one between them; and the load, which parses dates, after it. */
  async function seenAround(sql: string): Promise<[unknown, unknown]> {
    const path = await stage.forge((a) => {
      a.addSql(look("seen_before"));
      a.addSql(sql);
      a.addSql(look("seen_after"));
    });
    await stage.expectWhole(await stage.apply(path));
    const seen = (name: string) =>
      stage.server.query(`select * from ${name} order by name`, [], target);
    return [await seen("seen_before"), await seen("seen_after")];
  }

  const everything = (how: (name: string, value: string) => string) =>
    [
      ["role", "patron"],
      ["search_path", "evil"],
      ["row_security", "on"],
      ["DateStyle", "German"],
      ["default_transaction_read_only", "on"],
      ["statement_timeout", "1ms"],
      ["lock_timeout", "1ms"],
      ["check_function_bodies", "on"],
      ["client_min_messages", "error"],
      ["evil.flag", "x"],
      ["synchronous_commit", "remote_apply"],
    ]
      .map(([name = "", value = ""]) => how(name, value))
      .join("\n");
  // from PostgreSQL 19 on, this one has no other value
  const oldStrings = (set: string) =>
    `begin ${set}; exception when feature_not_supported then null; end;`;
  const config =
    everything((name, value) => `perform pg_catalog.set_config('${name}', '${value}', false);`) +
    oldStrings("perform pg_catalog.set_config('standard_conforming_strings', 'off', false)");

  test.each([
    [
      "SET",
      `${everything((name, value) => `set ${name} = '${value}';`)}
       do $$ ${oldStrings("set standard_conforming_strings = off")} $$;`,
    ],
    [
      "SET LOCAL",
      `${everything((name, value) => `set local ${name} = '${value}';`)}
       do $$ ${oldStrings("set local standard_conforming_strings = off")} $$;`,
    ],
    ["SET SESSION AUTHORIZATION", "set session authorization loader;"],
    ["RESET ALL", "reset all; reset role; reset session authorization;"],
    ["set_config", `do $$ begin ${config} end $$;`],
    [
      "set_config in a trigger at the commit",
      `create table public.late (id int);
       create function public.late() returns trigger language plpgsql as $$ begin ${config} return null; end $$;
       create constraint trigger late after insert on public.late deferrable initially deferred
         for each row execute function public.late();
       insert into public.late values (1);`,
    ],
    [
      "set_config in a trigger at the commit, put off again",
      `create table public.late (id int);
       create function public.late() returns trigger language plpgsql as $$ begin
         set constraints all deferred;
         if new.id < 3 then insert into public.late values (new.id + 1); end if;
         ${config.replace(/.*'role'.*/, "")} return null; end $$;
       create constraint trigger late after insert on public.late deferrable initially deferred
         for each row execute function public.late();
       insert into public.late values (1);`,
    ],
    [
      "set_config in a cursor that outlives the commit",
      `create function public.late() returns int language plpgsql as $$ begin ${config} return 1; end $$;
       declare late cursor with hold for select public.late() from pg_catalog.generate_series(1, 3);`,
    ],
  ])("%s", async (_, sql) => {
    const [before, after] = await seenAround(sql);
    expect(after).toEqual(before);
  });
});

test("literals are read as the archive says, and where they cannot be, it is refused", async () => {
  const path = await stage.forge((a) => {
    a.entry("STDSTRINGS", "STDSTRINGS").defn = "SET standard_conforming_strings = 'off';\n";
    a.addSql("create table public.slash as select 'a\\\\b'::text as v;");
  });
  const row = await stage.apply(path);
  if (!(await hasOldStrings(stage.server)))
    return stage.expectRefused(row, "0A000", /non-standard string literals/);
  await stage.expectWhole(row);
  expect(await stage.server.query("table slash", [], target)).toEqual([{ v: "a\\b" }]);
});

test.each(["work_queue", "snapshots", "_apply_done", "_job_directories", "nodes"])(
  "an entry that locks %s, for which others would wait, is refused",
  async (table) => {
    const path = await stage.forge((a) =>
      a.addSql(
        `lock table steep_repl.${table} in access exclusive mode; select pg_catalog.pg_sleep(600);`,
      ),
    );
    expect(
      await runApply(stage.server, path, { ...asLoader, args: "parallel => 2" }),
    ).toMatchObject({
      status: "failed",
      error_sqlstate: "42501",
    });
  },
);
