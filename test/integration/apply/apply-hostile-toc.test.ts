import { execFileSync } from "node:child_process";
import { symlink } from "node:fs/promises";
import { join } from "node:path";
import { beforeEach, describe, expect, test } from "vitest";
import { type ApplyRow, endOfApply, startApply } from "../../support/apply.ts";
import { type Archive, sections } from "../../support/archive.ts";
import { giveToServer } from "../../support/data-directory.ts";
import { asLoader, type HostileStage, setHostileStage, target } from "../../support/hostile.ts";
import { sampleMemory } from "../../support/processes.ts";
import { freshPath } from "../../support/snapshots.ts";
import type { TocEntry } from "../../support/toc.ts";
import { waitUntil } from "../../support/wait-until.ts";

let stage: HostileStage;
setHostileStage("apply-hostile-toc", (made) => {
  stage = made;
});

describe("the table of contents", () => {
  test("whose entries after the data depend on each other in a circle fails the job", async () => {
    const path = await stage.forge((a) => {
      const one = a.add({ section: sections.postData, desc: "INDEX", defn: "select 1;" });
      const two = a.add({ section: sections.postData, desc: "INDEX", defn: "select 2;" });
      one.dependencies = [two.dumpId];
      two.dependencies = [one.dumpId];
    });
    const row = await stage.apply(path, { args: "parallel => 3" });
    expect(row).toMatchObject({ status: "failed", error_sqlstate: "XX001" });
    expect(row.error_message).toContain("in a circle");
  });

  test("whose entries depend on themselves, or on what is not there, is applied", async () => {
    const path = await stage.forge((a) => {
      for (const section of [sections.preData, sections.postData]) {
        const entry = a.add({ section, desc: "INDEX", defn: "select 1;" });
        entry.dependencies = [entry.dumpId, 1_000_000, 2 ** 31 - 1, 0];
      }
    });
    await stage.expectWhole(await stage.apply(path));
  });

  test("with entries that depend on thousands of others is applied in seconds", async () => {
    const path = await stage.forge((a) => {
      const many = Array.from({ length: 20_000 }, () => 0);
      const first = Math.max(...a.toc.entries.map((e) => e.dumpId)) + 1;
      const at = a.toc.entries.findIndex((e) => e.section === sections.postData);
      const template = a.add({ section: sections.postData, desc: "INDEX", defn: null });
      a.toc.entries.splice(a.toc.entries.indexOf(template), 1);
      const tables = many.map((_, i) => ({
        ...template,
        dumpId: first + i,
        desc: "TABLE",
        section: sections.preData,
        tag: `t${i}`,
      }));
      a.toc.entries.splice(at, 0, ...tables);
      for (let i = 0; i < 20; i++)
        a.toc.entries.push({
          ...template,
          dumpId: first + 50_000 + i,
          desc: "TRIGGER",
          dependencies: tables.map((t) => t.dumpId),
        });
    });
    const started = await startApply(stage.server, path, { ...asLoader, args: "parallel => 2" });
    const row = await endOfApply(stage.server, started, target);
    await stage.expectWhole(row);
  });

  test("with a chain of entries that each add a table is applied in little memory", async () => {
    const links = 6000;
    const path = await stage.forge((a) => {
      const first = Math.max(...a.toc.entries.map((e) => e.dumpId)) + 1;
      const { entries } = a.toc;
      const template = entries[entries.length - 1] as TocEntry;
      const at = entries.findIndex((e) => e.section === sections.postData);
      const table = { ...template, desc: "TABLE", defn: null, section: sections.preData };
      const link = { ...template, desc: "TRIGGER", defn: null, section: sections.postData };
      const numbers = Array.from({ length: links }, (_, i) => first + i);
      entries.splice(at, 0, ...numbers.map((n) => ({ ...table, dumpId: n, dependencies: [] })));
      for (const n of numbers)
        entries.push({ ...link, dumpId: n + links, dependencies: [n, n + links - 1] });
    });
    const started = await startApply(stage.server, path, { ...asLoader, args: "parallel => 2" });
    const [pid] = await waitUntil(
      () => stage.server.pidsByApplicationName(`steep_repl ${started.snapshot_id} coordinator`),
      (pids) => pids.length === 1,
      "the coordinator runs",
    );
    const memory = sampleMemory(pid ?? 0);
    await stage.expectWhole(await endOfApply(stage.server, started, target));
    expect(memory.stop()).toBeLessThan(100 * 1024);
  });

  test.each<[what: string, edit: (archive: Archive) => unknown, says: RegExp]>([
    [
      "whose SQL is no UTF-8",
      (a) => a.addSql("").dumpId && Object.assign(a.entry("FUNCTION", "added"), { defn: bad }),
      /invalid byte sequence/,
    ],
    [
      "whose name is no UTF-8",
      (a) => Object.assign(a.addSql("select 1;"), { tag: bad }),
      /invalid byte sequence/,
    ],
    [
      "whose COPY is no UTF-8",
      (a) => Object.assign(a.entry("TABLE DATA", "item"), { copyStmt: bad }),
      /invalid byte sequence/,
    ],
    ["whose SQL holds a zero byte", (a) => a.addSql("select 1;\0"), /zero byte/],
    ["whose data file is above", (a) => file(a, "../x"), /outside of the archive/],
    ["whose data file is absolute", (a) => file(a, "/etc/passwd"), /outside of the archive/],
    ["whose data file is hidden", (a) => file(a, ".steep_repl"), /outside of the archive/],
    ["whose data file is not there", (a) => file(a, "1.dat"), /does not name file "1.dat.gz"/],
    ["whose data has no file", (a) => file(a, ""), /does not say where the data/],
    [
      "whose data is another table's",
      (a) => file(a, String(a.entry("TABLE DATA", "note").filename)),
      /not what the manifest says|does not hold|has changed/,
    ],
    [
      "whose section is none",
      (a) => Object.assign(a.addSql("select 1;"), { section: 9 }),
      /invalid section/,
    ],
    [
      "whose number is none",
      (a) => Object.assign(a.addSql("select 1;"), { dumpId: -1 }),
      /invalid entry number/,
    ],
    [
      "whose number is taken",
      (a) => Object.assign(a.addSql("select 1;"), { dumpId: a.entry("TABLE", "item").dumpId }),
      /_apply_done_pkey|twice/,
    ],
    [
      "whose dependency is no number",
      (a) => a.addSql("select 1;").dependencies.push("1; drop table secret"),
      /invalid number/,
    ],
    [
      "whose owner is somebody else",
      (a) => Object.assign(a.entry("TABLE", "item"), { owner: "postgres" }),
      /must be able to SET ROLE "postgres"/,
    ],
    [
      "whose owner smuggles SQL",
      (a) => Object.assign(a.entry("TABLE", "item"), { owner: "loader; create role evil" }),
      /role "loader; create role evil" does not exist/,
    ],
    [
      "whose tablespace smuggles SQL",
      (a) => Object.assign(a.entry("TABLE", "item"), { tablespace: "x; create role evil" }),
      /Tablespace "x; create role evil" does not exist/,
    ],
    [
      "whose access method smuggles SQL",
      (a) => Object.assign(a.entry("TABLE", "item"), { tableam: "heap; create role evil" }),
      /access method "heap; create role evil" does not exist/,
    ],
    [
      "of a kind that nobody knows",
      (a) => {
        a.addSql("select 1;");
        Object.assign(a.addSql("select 2;"), {
          desc: "SPELL",
          owner: "loader",
          dropStmt: "DROP SPELL;",
        });
      },
      /kind that is not supported: The owner of SPELL "added" cannot be set.(?!.*Statement)/s,
    ],
  ])("%s is refused", async (_, edit, says) => {
    const row = await stage.apply(await stage.forge(edit));
    expect(`${row.error_message}`).toMatch(says);
    expect(row.status).toBe("failed");
  });

  test("with names of thousands of bytes is applied, and its progress is valid text", async () => {
    const tag = `${"a".repeat(2)}${"ü".repeat(3000)}`;
    const path = await stage.forge((a) => {
      Object.assign(a.addSql("select pg_catalog.pg_advisory_xact_lock(4711);"), { tag });
    });
    const gate = await stage.server.connect(target);
    await gate.query("select pg_advisory_lock(4711)");
    const started = await startApply(stage.server, path, { ...asLoader, args: "parallel => 1" });
    const [seen] = await waitUntil(
      () =>
        stage.server.query<{ name: Buffer; length: number }>(
          "select convert_to(current_table, 'UTF8') as name, length(current_table) as length from steep_repl.snapshots where current_table like '%üü%'",
          [],
          target,
        ),
      (rows) => rows.length === 1,
      "the row shows what is worked at",
    );
    expect(seen?.name.toString("utf8")).not.toContain("\ufffd");
    await gate.end();
    await stage.expectWhole(await endOfApply(stage.server, started, target));
  });
});

const bad = Buffer.from("select '\xc3\x28';", "latin1");

function file(archive: Archive, filename: string): void {
  archive.entry("TABLE DATA", "item").filename = filename;
}

describe("who may read a snapshot:", () => {
  const asStranger = { ...target, user: "stranger" };
  const insert = (path: string) =>
    stage.server.query<ApplyRow>(
      `insert into steep_repl.work_queue (operation, params) values ('snapshot_apply', $1)
       returning snapshot_id`,
      [
        {
          input_path: path,
          parallel: 1,
          verify: true,
          sections: ["pre-data", "data", "post-data"],
          tables: null,
          truncate: false,
          no_owner: true,
          no_privileges: true,
        },
      ],
      asStranger,
    );
  async function inserted(path: string): Promise<ApplyRow> {
    const [queued] = await insert(path);
    return endOfApply(stage.server, queued as ApplyRow, target);
  }
  beforeEach(() =>
    stage.server.query(
      `grant usage on schema steep_repl to stranger;
       grant select, insert, update, delete on all tables in schema steep_repl to stranger;
       grant create, usage on schema public to stranger`,
      [],
      target,
    ),
  );

  test("not a role that is no member of its creator", async () => {
    expect(await stage.apply(stage.original, { as: asStranger })).toMatchObject({
      error_sqlstate: "42501",
    });
    const row = await inserted(stage.original);
    await stage.expectRefused(row, "42501", /permission denied for snapshot.*"loader"/);
  });

  test.each(["postgres", "nobody at all", ""])("nor if the manifest names %j", async (creator) => {
    const path = await stage.forge((a) => {
      a.manifest.creator = creator;
    });
    expect(await stage.apply(path)).toMatchObject({ status: "failed", error_sqlstate: "42501" });
    await stage.expectRefused(await inserted(path), "42501", /permission denied for snapshot/);
  });

  test("a member of its creator, or of pg_read_server_files", async () => {
    for (const group of ["loader", "pg_read_server_files"]) {
      await stage.server.query(`grant ${group} to stranger with inherit true`);
      const row = await inserted(stage.original);
      await stage.server.query(`revoke ${group} from stranger`);
      expect(row).toMatchObject({ status: "complete", error_message: null });
      await stage.server.query("drop table item, note cascade", [], target);
    }
  });

  test("nobody outside of snapshot_directories, through a link, or by ..", async () => {
    const outside = join(stage.server.home, "outside");
    execFileSync("cp", ["-a", stage.original, outside]);
    const link = freshPath(stage.server);
    const linked = freshPath(stage.server);
    await symlink(stage.server.home, link);
    await symlink(stage.original, linked);
    stage.toRemove.push(outside, link, linked);
    await giveToServer(outside);
    for (const [path, code, says] of [
      [outside, "42501", /snapshot_directories/],
      [join(link, "outside"), "42501", /symbolic link/],
      [linked, "42501", /symbolic link/],
      [`${stage.server.snapshotDir}/../outside`, "22023", /"\.\."/],
      [stage.original.slice(1), "22023", /not absolute/],
      [join(stage.server.dataDir, "base"), "42501", /snapshot_directories/],
    ] as const) {
      await stage.expectRefused(await stage.apply(path), code, says);
      await stage.expectRefused(await inserted(path), code, says);
    }
  });
});
