import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { dropKinds, makeKinds, placeKinds } from "../../support/kind-tables.ts";
import { type OlderServer, olderBin, startOlderServer } from "../../support/older-server.ts";
import { kinds, rich } from "../../support/schema-kinds.ts";
import {
  compare,
  diff,
  mend,
  type SchemaStage,
  setTables,
  statuses,
  summary,
} from "../../support/schemas.ts";
import { type Server, startServer } from "../../support/server.ts";

/* A peer of an older version, where one is installed (STEEP_OLDER_BIN names its programs). */
describe.skipIf(olderBin === undefined)("an older peer", () => {
  let server: Server;
  let peer: OlderServer;
  let stage: SchemaStage;
  const app = { database: "app" };

  beforeAll(async () => {
    [server, peer] = await Promise.all([
      startServer({ name: "versions" }),
      startOlderServer(olderBin ?? ""),
    ]);
    stage = { server, peer: peer as SchemaStage["peer"] };
    await server.createDatabase("app", { extension: true });
    await peer.query("create database app");
    const roles = "create role reader; create role writer";
    await Promise.all([server.query(roles), peer.query(roles)]);
    await server.query(
      `select steep_repl.register_node('a', 'A', dbname => 'app');
       select steep_repl.register_node('b', 'B', '127.0.0.1', ${peer.port}, dbname => 'app')`,
      [],
      app,
    );
  });
  afterAll(async () => {
    await server.destroy();
    await peer.destroy();
  });

  test("agrees on tables that are alike", async () => {
    await setTables(stage, rich);
    expect(await diff(stage)).toEqual([]);
    expect(await compare(stage)).toEqual({ parent: "match", t: "match" });
  });

  test("agrees on partitions and children", async () => {
    await setTables(
      stage,
      `create table p (id int primary key, v text not null, ref int references p, check (id > 0)) partition by range (id);
       create table t partition of p for values from (1) to (9);
       create table s.u (v text not null, id int not null primary key, ref int, constraint p_id_check check (id > 0));
       alter table p attach partition u for values from (9) to (20); create index on p (v);
       create function f() returns trigger language plpgsql as 'begin return new; end';
       create trigger x after insert on p for each row execute function f();
       create table q (id int not null, check (id < 5)); create table c (n int) inherits (q)`,
    );
    for (const table of ["s.p", "s.t", "s.u", "s.q", "s.c"])
      expect(summary(await diff(stage, table)), table).toEqual([]);
    expect(new Set(Object.values(await compare(stage)))).toEqual(new Set(["match"]));
  });

  // what an older version cannot be made to have
  const newer = /virtual|not enforced|nulls not distinct|set expression|add not null/;
  describe("with each kind of difference", () => {
    const placed = placeKinds(kinds.filter((kind) => !newer.test(kind.join())));

    beforeAll(() => makeKinds(stage, placed));
    afterAll(() => dropKinds(stage, placed));

    test.each(placed)("%s", async (_, { schema, expected }) => {
      const rows = await diff(stage, `${schema}.t`);
      const differing = rows.filter((row) => row.status !== "order");
      expect(summary(differing).sort()).toEqual(expected);
      await mend(stage, rows);
    });

    test("is mended", async () => {
      const after = await statuses(stage);
      for (const [name, { schema }] of placed)
        expect(after, name).toMatchObject({ [`${schema}.t`]: "match" });
    });
  });

  test("with another generated column gets it anew", async () => {
    const table = (expression: string) =>
      `create table t (a int, g int generated always as (${expression}) stored)`;
    await setTables(stage, "", table("a + 2"), table("a + 1"));
    await mend(stage, await diff(stage));
    expect(await compare(stage)).toEqual({ t: "match" });
  });
});
