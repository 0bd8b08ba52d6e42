import { existsSync } from "node:fs";
import { rm } from "node:fs/promises";
import { DatabaseError } from "pg";
import { afterAll, afterEach, beforeAll, beforeEach, expect } from "vitest";
import { type ApplyRow, runApply } from "./apply.ts";
import { Archive } from "./archive.ts";
import { giveToServer } from "./data-directory.ts";
import { expectNoLeaks } from "./leaks.ts";
import { createRole } from "./roles.ts";
import { type Server, startServer } from "./server.ts";
import { digests, freshPath, takeSnapshot } from "./snapshots.ts";

/*
 * An archive whose author is malicious or careless, and whose digests are nevertheless right.
 * Whatever it holds is done with the rights of who applies it, or not at all.
 */

export const target = { database: "target" };
/** A plain role with the documented grants; it made the snapshot and may create in the target. */
export const asLoader = { ...target, user: "loader" };
const source = { database: "source", user: "loader" };

/** What COPY … PROGRAM would leave. */
export const evilFile = "/tmp/steep-evil";

const tables = `
  create table item (id int primary key, v text);
  insert into item select g, 'v' || g from generate_series(1, 1000) g;
  create table note (id int, item int references item, v text default 'none');
  insert into note select g, g, 'n' from generate_series(1, 100) g;
  create index on note (item)`;

const targetSchema = `
  create table secret (id int primary key, v text);
  insert into secret values (1, 'untouched');
  grant usage on schema steep_repl to loader;
  grant select, insert, update, delete on all tables in schema steep_repl to loader;
  grant create, usage on schema public to loader;
  grant create on database target to loader`;

export interface HostileStage {
  readonly server: Server;
  /** A snapshot of gzip, with two small tables. */
  readonly original: string;
  /** Files and directories that a test makes, to be removed after it. */
  readonly toRemove: string[];
  /** What the server has logged since the test began. */
  log(): Promise<string>;
  /** A copy of the snapshot, after an edit, with all digests right. */
  forge(edit: (archive: Archive) => unknown): Promise<string>;
  /** A copy of the snapshot, after an edit that its digests do not know of. */
  damage(edit: (archive: Archive) => unknown): Promise<string>;
  /** Apply to the end; what start_apply refuses at once has the same members as a row. */
  apply(path: string, options?: { as?: typeof asLoader; args?: string }): Promise<ApplyRow>;
  /** The apply failed, and of its tables no row is there. */
  expectRefused(row: ApplyRow, sqlstate: string, says: RegExp): Promise<void>;
  /** The archive's own tables arrived whole, whatever else it held. */
  expectWhole(row: ApplyRow): Promise<void>;
}

class Stage implements HostileStage {
  readonly server: Server;
  readonly original: string;
  toRemove: string[] = [];
  #expected: Record<string, string> = {};
  #logBefore = 0;

  constructor(server: Server) {
    this.server = server;
    this.original = freshPath(server);
  }

  async prepare(): Promise<void> {
    const { server } = this;
    await server.createDatabase("source", { extension: true });
    await createRole(server, "source", "loader");
    await server.query(
      `create role patron; grant patron to loader; create role stranger login;
       grant create on schema public to loader`,
      [],
      { database: "source" },
    );
    await server.query(tables, [], source);
    await takeSnapshot(server, {
      ...source,
      path: this.original,
      args: "compression => 'gzip'",
    });
    this.#expected = await digests(server, "source");
  }

  async begin(): Promise<void> {
    this.#logBefore = (await this.server.log()).length;
    this.toRemove = [];
    await this.server.createDatabase("target", { extension: true });
    await this.server.query(targetSchema, [], target);
  }

  /** The server is up and has not crashed; nothing that is called evil, and no leak, is there. */
  async end(): Promise<void> {
    expect(await this.server.query("select * from secret", [], target)).toEqual([
      { id: 1, v: "untouched" },
    ]);
    expect(await this.server.query("select from pg_roles where rolname like 'evil%'")).toEqual([]);
    expect(existsSync(evilFile)).toBe(false);
    expect(await this.log()).not.toMatch(/signal 11|signal 6|PANIC|TRAP|terminated by signal/);
    await this.server.query("drop database target with (force)");
    for (const path of this.toRemove) await rm(path, { recursive: true });
    await expectNoLeaks(this.server, { files: [this.original.split("/").at(-1) ?? ""] });
  }

  async log(): Promise<string> {
    return (await this.server.log()).slice(this.#logBefore);
  }

  async #copy(): Promise<Archive> {
    const archive = await Archive.copyOf(this.server, this.original);
    this.toRemove.push(archive.path);
    return archive;
  }

  async forge(edit: (archive: Archive) => unknown): Promise<string> {
    const archive = await this.#copy();
    await edit(archive);
    return archive.write();
  }

  async damage(edit: (archive: Archive) => unknown): Promise<string> {
    const archive = await this.#copy();
    await edit(archive);
    await giveToServer(archive.path);
    return archive.path;
  }

  async apply(
    path: string,
    { as = asLoader, args = "parallel => 1" }: { as?: typeof asLoader; args?: string } = {},
  ): Promise<ApplyRow> {
    try {
      return await runApply(this.server, path, { ...as, args });
    } catch (error) {
      if (!(error instanceof DatabaseError)) throw error;
      return {
        status: "failed",
        error_sqlstate: error.code,
        error_message: `${error.message}: ${error.detail}`,
        error_hint: error.hint,
      } as unknown as ApplyRow;
    }
  }

  async expectRefused(row: ApplyRow, sqlstate: string, says: RegExp): Promise<void> {
    expect(`${row.error_sqlstate} ${row.error_message} ${row.error_hint}`).toMatch(says);
    expect(row).toMatchObject({ status: "failed", error_sqlstate: sqlstate });
    const found = await digests(this.server, "target");
    for (const table of ["public.item", "public.note"]) expect(found[table] ?? "0 0").toBe("0 0");
  }

  async expectWhole(row: ApplyRow): Promise<void> {
    expect(row).toMatchObject({ status: "complete", error_message: null });
    expect(await digests(this.server, "target")).toMatchObject(this.#expected);
    expect(await this.server.query("select from steep_repl._apply_done", [], target)).toEqual([]);
  }
}

/** Set a server up for the tests of a file, with a new target database for each of them. */
export function setHostileStage(name: string, use: (stage: HostileStage) => void): void {
  let stage: Stage;
  beforeAll(async () => {
    stage = new Stage(
      await startServer({
        name,
        settings: { max_worker_processes: 16, "steep_repl.poll_interval": 100 },
      }),
    );
    await stage.prepare();
    use(stage);
  });
  afterAll(() => stage.server.destroy());
  beforeEach(() => stage.begin());
  afterEach(() => stage.end());
}
