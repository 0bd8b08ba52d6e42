import { afterAll, beforeAll, expect, test } from "vitest";
import { createRandom, type Random } from "../../support/random.ts";
import {
  compare,
  diff,
  mend,
  runPlainly,
  type SchemaStage,
  setTables,
  summary,
} from "../../support/schemas.ts";
import { startServer } from "../../support/server.ts";

/* Many differences at once: the suggestions must get along with each other. */
let stage: SchemaStage & { readonly peer: SchemaStage["server"] };
const app = { database: "app" };
const rounds = 15;

beforeAll(async () => {
  const [server, peer] = await Promise.all([
    startServer({ name: "schema-random" }),
    startServer({ name: "schema-random-peer", identity: "peer", preload: false }),
  ]);
  stage = { server, peer };
  await server.createDatabase("app", { extension: true });
  await peer.createDatabase("app");
  await server.query(
    `select steep_repl.register_node('a', 'A', dbname => 'app');
     select steep_repl.register_node('b', 'B', '127.0.0.1', ${peer.port}, dbname => 'app')`,
    [],
    app,
  );
});
afterAll(async () => {
  await stage.server.destroy();
  await stage.peer.destroy();
});

const base = `
  create function f() returns trigger language plpgsql as 'begin return new; end';
  create table p (id int primary key);
  create table t (a int, b text, c varchar(5) default 'x', d numeric(8, 2), e serial,
                  g int generated always as (a + 1) stored)`;

function change(random: Random): string {
  const column = () => random.pick(["a", "b", "c", "d", "e", "h", "i"]);
  const name = () => random.pick(["x", "y", "z"]);
  const number = () => random.int(1, 2);
  return random.pick([
    () =>
      `alter table t add ${random.pick(["h", "i"])} ${random.pick(["int", "text not null default 'n'", "bigserial", "numeric", "int generated always as identity"])}`,
    () => `alter table t alter ${column()} set not null`,
    () => `alter table t alter ${column()} drop not null`,
    () => `alter table t alter ${column()} drop default`,
    () => `alter table t alter b set default '${number()}'`,
    () => `alter table t alter c type varchar(${random.int(5, 7)})`,
    () => `alter table t alter a type ${random.pick(["bigint", "int", "numeric"])}`,
    () =>
      `alter table t alter b type ${random.pick(["text", "varchar(9)"])} collate ${random.pick(['"C"', '"POSIX"', '"default"'])}`,
    () => `alter table t alter d type ${random.pick(["numeric(9, 3)", "float8", "int"])}`,
    () =>
      `alter table t alter ${random.pick(["a", "h", "i"])} add generated ${random.pick(["always", "by default"])} as identity`,
    () => `alter table t alter g set expression as (a * ${number()})`,
    () => "alter table t alter g drop expression",
    () =>
      `alter table t add constraint ${name()} primary key (${random.pick(["a", "e", "a, e", "h"])})`,
    () =>
      `alter table t add constraint ${name()} unique (${column()}, ${column()}) ${random.pick(["", "deferrable"])}`,
    () =>
      `alter table t add constraint ${name()} check (a > ${number()}) ${random.pick(["", "not valid"])}`,
    () => `alter table t add constraint ${name()} check (c in ('a', 'b'))`,
    () =>
      `alter table t add constraint ${name()} foreign key (${random.pick(["a", "e"])}) references p ${random.pick(["", "on delete cascade"])}`,
    () =>
      `create ${random.pick(["", "unique"])} index ${name()}i on t (${column()} ${random.pick(["", "desc"])}) ${random.pick(["", "where a > 1"])}`,
    () =>
      `alter table t replica identity ${random.pick(["full", "nothing", "default", "using index xi", "using index x"])}`,
    () =>
      `create trigger ${name()} ${random.pick(["before", "after"])} insert on t for each row execute function f()`,
    () => `alter table t ${random.pick(["disable", "enable always"])} trigger ${name()}`,
    () => `create policy ${name()} on t using (e > ${number()})`,
    () => `alter table t ${random.pick(["enable", "force"])} row level security`,
  ])();
}

/** Changes of which some are refused, as they may be. */
async function makeChanges(
  node: SchemaStage["server"],
  changes: readonly string[],
): Promise<string[]> {
  const made: string[] = [];
  for (const sql of changes)
    await runPlainly(node, `set search_path = s; ${sql}`).then(
      () => made.push(sql),
      () => {},
    );
  return made;
}

test(`of ${rounds} tables that differ in many ways, the suggestions leave no difference`, async () => {
  const random = createRandom();
  for (let round = 0; round < rounds; round++) {
    await setTables(stage, base);
    const changes = () => Array.from({ length: random.int(1, 12) }, () => change(random));
    const [here, there] = [changes(), changes()];
    const made = [await makeChanges(stage.server, here), await makeChanges(stage.peer, there)];
    const rows = await diff(stage);
    const story = JSON.stringify(
      { seed: random.seed, round, made, rows: rows.map((r) => r.suggested_sql) },
      null,
      1,
    );
    const withheld = rows.filter((row) => row.suggested_sql?.startsWith("-- alter"));
    await mend(stage, rows).catch((error: Error) => {
      throw new Error(`${error.message}\n${story}`);
    });
    const left = (await diff(stage)).filter((row) => row.status !== "order");
    expect(summary(left).sort(), story).toEqual(summary(withheld).sort());
    if (left.length === 0) expect(await compare(stage)).toMatchObject({ t: "match" });
  }
}, 180_000);
