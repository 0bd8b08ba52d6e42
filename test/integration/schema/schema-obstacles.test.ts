import { afterAll, beforeAll, expect, test } from "vitest";
import { printAndRead } from "../../support/expressions.ts";
import { bin, run } from "../../support/pg.ts";
import { type SchemaPairServers, startSchemaPair } from "../../support/schema-model.ts";
import { compare, diff, mend, setTables } from "../../support/schemas.ts";

/* What stood in the way of suggestions that were found at random: they are statements that run, or say why there are none. */

let stage: SchemaPairServers;
beforeAll(async () => {
  stage = await startSchemaPair("schema-obstacles");
});
afterAll(async () => {
  await stage.server.destroy();
  await stage.peer.destroy();
});

const suggested = async (table = "s.t") =>
  (await diff(stage, table)).map(({ suggested_sql }) => suggested_sql ?? "").join("\n");

/** Suggestions are run as they are; then tables are alike. */
async function mends(...tables: readonly string[]): Promise<void> {
  for (const table of tables) {
    const rows = await diff(stage, table);
    expect(rows.length).toBeGreaterThan(0);
    await mend(stage, rows);
  }
  const statuses = await compare(stage);
  for (const table of tables) expect(statuses).toMatchObject({ [table.slice(2)]: "match" });
}

test.each([
  ["the default one", "default", "default", true],
  ["a value of a list", "in ('a', 'b')", "in ('c', 'b')", true],
  ["other values of a list", "in ('a', 'b''), (')", "in ('c', 'b')", false],
])("a partition beside one that only the peer has: %s", async (_, here, there, isInTheWay) => {
  const values = (bound: string) => (bound === "default" ? bound : `for values ${bound}`);
  const root = "create table root (k text) partition by list (k)";
  await setTables(
    stage,
    root,
    `create table t partition of root ${values(here)}`,
    `create table other partition of root ${values(there)}`,
  );
  const sql = await suggested();
  if (!isInTheWay) return mends("s.t");
  expect(sql).toContain(
    "-- partition s.other of s.root, which is not here, may take some of the same rows",
  );
  expect(sql).not.toMatch(/^[^-]/m);
});

test.each([
  ["int", "from (10) to (20)", "from (1) to (10)", false],
  ["bigint", "from ('-10') to (maxvalue)", "from (minvalue) to (9)", true],
  ["date", "from ('2020-01-01') to ('2020-02-01')", "from ('2020-02-01') to (maxvalue)", false],
  ["date", "from ('2020-01-01') to ('2020-02-01')", "from (minvalue) to ('2020-01-02')", true],
  [
    "timestamp",
    "from ('2020-01-01') to ('2020-02-01 12:00')",
    "from ('2020-02-01 13:00') to ('2020-03-01')",
    false,
  ],
  // not known, so not done
  ["text", "from ('a') to ('b')", "from ('b') to ('c')", true],
])("a range of %s %s beside %s", async (type, here, there, isInTheWay) => {
  await setTables(
    stage,
    `create table root (k ${type}) partition by range (k)`,
    `create table t partition of root for values ${here}`,
    `create table other partition of root for values ${there}`,
  );
  if (isInTheWay) expect(await suggested()).not.toMatch(/^[^-]/m);
  else await mends("s.t");
});

test.each([
  ["4, remainder 1", "2, remainder 1", true],
  ["4, remainder 1", "2, remainder 0", false],
])("a hash of modulus %s beside %s", async (here, there, isInTheWay) => {
  await setTables(
    stage,
    "create table root (k int) partition by hash (k)",
    `create table t partition of root for values with (modulus ${here})`,
    `create table other partition of root for values with (modulus ${there})`,
  );
  if (isInTheWay) expect(await suggested()).not.toMatch(/^[^-]/m);
  else await mends("s.t");
});

const touch = "create function touch() returns trigger language plpgsql as 'begin return new; end'";

test("a constraint trigger named like a foreign key that a partition has from its parent", async () => {
  const both = `${touch}; create table ref (id int primary key); create table root (a int) partition by list (a)`;
  const trigger =
    "create constraint trigger y after update on t for each row execute function touch()";
  const key = "alter table root add constraint y foreign key (a) references ref";
  // the trigger first
  await setTables(stage, both, `create table t partition of root default; ${trigger}; ${key}`, key);
  await mends("s.t");
  // the trigger is to come to a partition that has the key
  await setTables(
    stage,
    `${both}; create table t partition of root default`,
    `${trigger}; ${key}`,
    key,
  );
  expect(await suggested()).toMatch(/^-- constraint y on table s\.t is in the way/);
});

test("a sequence of a table that is somebody else's", async () => {
  await setTables(
    stage,
    "create table t (a int, b int)",
    "alter table t add e serial; create sequence q owned by t.a; alter table t alter a set default nextval('q')",
    "alter table t owner to writer; grant usage on schema s to writer",
  );
  expect(await suggested()).toContain("alter sequence s.q owner to writer;");
  await mends("s.t");
  const [row] = await stage.peer.query<{ n: string }>(
    "select count(*) as n from pg_class where relkind = 'S' and relowner = 'writer'::regrole",
    [],
    { database: "app" },
  );
  expect(row).toEqual({ n: "2" });
});

test("a sequence whose number is beyond its new type ends in an error", async () => {
  await setTables(
    stage,
    "",
    "create table t (id serial)",
    "create table t (id bigserial); select setval('t_id_seq', 3000000000)",
  );
  const rows = await diff(stage);
  await expect(mend(stage, rows)).rejects.toThrow(/cannot be greater than MAXVALUE/);
  const [row] = await stage.peer.query("select last_value::text from s.t_id_seq", [], {
    database: "app",
  });
  expect(row).toEqual({ last_value: "3000000000" });
});

test("a cast with a function of somebody's own may do anything to values", async () => {
  await setTables(
    stage,
    `create function f(text) returns uuid language sql immutable as $$select '${"0".repeat(32)}'::uuid$$;
     create cast (text as uuid) with function f(text)`,
    "create table t (a uuid, b uuid[])",
    "create table t (a text, b text[])",
  );
  const [a, b] = (await diff(stage)).map(({ suggested_sql }) => suggested_sql);
  expect(a).toMatch(/^-- alter table .*; -- values could become other ones$/);
  expect(b).toMatch(/^-- alter table .*; -- values could become other ones$/);
});

test("defaults that no row can have", async () => {
  await setTables(
    stage,
    "create domain small as int check (value < 9); create table t (a int)",
    `alter table t add b varchar(3), add c smallint, add d small, add e text, add f varchar(3), add g small;
     alter table t alter b set default now(), alter c set default 70000, alter d set default 10,
       alter e set default now(), alter f set default 'abc', alter g set default 1 + 1`,
    "insert into t values (1)",
  );
  const sql = await suggested();
  for (const column of ["b", "c", "d"])
    expect(sql).toMatch(
      new RegExp(
        `-- no row can have its default: .*\n.* add column ${column} .*;\n.* alter column ${column} set default`,
      ),
    );
  expect(sql.match(/no row can have/g)).toHaveLength(3);
  await mends("s.t");
  expect(await stage.peer.query("select b, c, d, f, g from s.t", [], { database: "app" })).toEqual([
    { b: null, c: null, d: null, f: "abc", g: 2 },
  ]);
});

test("what is run of defaults to find that out is nobody else's", async () => {
  await setTables(
    stage,
    "create table t (a int); create sequence q",
    `create function f() returns int language sql as $$ select nextval('s.q')::int $$;
     alter function f() owner to writer; create domain d as int check (value > s.f()); alter domain d owner to writer;
     alter table t add b int default s.f(), add c bigint default nextval('s.q'), add e d default 1000`,
    "",
  );
  const number = "select last_value, is_called from s.q";
  const before = await stage.server.query(number, [], { database: "app" });
  await suggested();
  expect(await stage.server.query(number, [], { database: "app" })).toEqual(before);
});

test("a partition's own key that is a part of one of its parent's", async () => {
  const both = "create table root (a int) partition by list (a)";
  const own = "create table t (a int primary key); alter table root attach partition t default";
  const plain = "create table t (a int not null); alter table root attach partition t default";
  const unique = "alter table root add constraint u unique (a)";
  // it is decided when the parent gets the key, or the partition is attached, which of a partition's it is taken for
  await setTables(stage, both, `${own}; ${unique}`, `${plain}; ${unique}`);
  expect(await compare(stage)).toMatchObject({ t: "mismatch", root: "match" });
  await explains(/^-- constraint t_pkey is a part of one of the parent of s\.t here: add it/m);
  await setTables(stage, both, `${plain}; ${unique}`, `${own}; ${unique}`);
  await explains(/^-- constraint t_pkey is a part of one of the parent of s\.t/m);
  for (const key of ["", "create table t (a int primary key)", "create table t (a int not null)"]) {
    await setTables(stage, `${both}; ${unique}`, own, key);
    await mends("s.t");
  }
  const detached = "create table t (a int not null)";
  await setTables(stage, both, `${own}; ${unique}`, `${unique}; ${detached}`);
  await explains(/^-- constraint t_pkey is a part of one of the parent of s\.t here: add it/m);
  // on attaching, one of the same kind is taken
  const deferrable = "add constraint x unique (a) deferrable";
  await setTables(
    stage,
    `${both}; create table t (a int); ${unique}`,
    `alter table t ${deferrable}; alter table root attach partition t default`,
  );
  await mends("s.t");
  // also where there are two of them here
  await setTables(
    stage,
    `${both}; create table t (a int); ${unique}`,
    `alter table root attach partition t default; alter table t ${deferrable}`,
    `alter table t ${deferrable}`,
  );
  await explains(/a part of one of its parent's then: compare again$/m);
  await explains(/^-- constraint x is a part of one of the parent of s\.t/m);
  // a deferrable one is taken for a primary key, too, so that there is no primary key of the partition
  const deferred = "alter table t add constraint x unique (a) deferrable";
  const primary = "alter table root add primary key (a)";
  await setTables(stage, `${both}; ${plain}`, `${primary}; ${deferred}`, `${deferred}; ${primary}`);
  expect(await compare(stage)).toMatchObject({ t: "mismatch", root: "match" });
  await explains(/^-- constraint x is a part of one of the parent of s\.t/m);
});

test("an index of a table that attaching takes for one of its parent's", async () => {
  await setTables(
    stage,
    "create table root (a int) partition by list (a); create table t (a int); create index on root (a)",
    "alter table root attach partition t default; create index x on t (a)",
    "create index x on t (a)",
  );
  await explains(/a part of one of its parent's then: compare again$/m);
  await explains(/^-- index s\.x has the name that it would get$/m);
  // a table that is made whole is attached, too
  await setTables(
    stage,
    "create table root (a int) partition by list (a); create index on root (a)",
    "create table t partition of root default; create index x on t (a)",
  );
  await explains(/a part of one of its parent's then: compare again$/m);
});

test("an index of a partition that is a part of one made ON ONLY", async () => {
  await setTables(
    stage,
    `create table root (a int) partition by list (a); create table t partition of root default;
     create table other partition of root for values in (1); create index whole on only root (a)`,
    "create index part on t (a); alter index whole attach partition part",
  );
  expect(await compare(stage)).toMatchObject({ t: "mismatch", root: "match" });
  await mends("s.t");
});

test("an index of a partition that is a part of one in another order", async () => {
  await setTables(
    stage,
    "create table root (a int, b int) partition by list (a); create table t partition of root default",
    "create index mine on t (b); create index whole on root (b desc)",
    "create index whole on root (b desc)",
  );
  expect(await compare(stage)).toMatchObject({ t: "mismatch", root: "match" });
  await mends("s.t");
});

test("an index with the name of one that a partition has from its parent", async () => {
  await setTables(
    stage,
    "create table root (a int, b text) partition by list (a); create table t partition of root default",
    'create index on t (b); create index on root (b collate "C")',
    'create index on root (b collate "C")',
  );
  expect(await suggested()).toMatch(/^-- index s\.t_b_idx has the name that it would get/);
});

test("an index that is not valid of a partitioned table", async () => {
  const both =
    "create table t (a int) partition by list (a); create table t1 partition of t default";
  await setTables(stage, both, "create index x on only t (a)", "");
  expect(await suggested()).toContain(
    "-- the local index is invalid: attach an index of each partition to it",
  );
});

test("a foreign key to a key that a partition would have from its parent, and does not become", async () => {
  await setTables(
    stage,
    "create table root (a int primary key, h int) partition by list (a)",
    "create table t partition of root default; alter table t add constraint x foreign key (a) references t (a)",
    "create table t (a int not null, h date)",
  );
  const rows = await diff(stage);
  const key = rows.find((row) => row.object_name === "x");
  expect(key?.suggested_sql).toMatch(/^-- it needs constraint t_pkey, which is left as it is/);
  await mend(stage, rows);
});

test("a foreign key to a table that lacks the key is no statement until that has it", async () => {
  const refers = "create table u (n bigint references t (a))";
  await setTables(
    stage,
    "",
    `create table t (a bigint unique); ${refers}`,
    "create table t (a bigint)",
  );
  expect(await suggested("s.u")).toMatch(/^-- table s\.t has no unique constraint over \(a\)/);
  await mends("s.t", "s.u");
});

/** One of the comments says why; the statements beside it can be run. */
async function explains(why: RegExp, table?: string): Promise<void> {
  const rows = await diff(stage, table);
  expect(rows.map(({ suggested_sql }) => suggested_sql ?? "").join("\n")).toMatch(why);
  await mend(stage, rows);
}

const referred = "create table u (n int references t (a))";

test.each([
  [
    "of the table",
    "create table t (a int not null, b int not null)",
    "alter table t add constraint x primary key (b)",
    `alter table t add constraint z primary key (a); ${referred}`,
    /^-- constraint z is the primary key, and is left as it is$/m,
  ],
  [
    "that a partition has from its parent",
    "create table root (a int not null, b int not null) partition by list (a); create table t partition of root default",
    "alter table t add constraint x primary key (a, b)",
    "alter table root add constraint z primary key (a)",
    /^-- constraint t_pkey on table s.t is in the way$/m,
  ],
  [
    "of a table that becomes a partition",
    "create table root (a int, b int not null, primary key (a)) partition by list (a)",
    "create table t partition of root default",
    "create table t (a int not null, b int not null); alter table t add constraint z primary key (b); create table u (n int references t)",
    /^-- it needs constraint z, which is left as it is/m,
  ],
])("a primary key beside one %s", async (_, both, here, there, why) => {
  await setTables(stage, both, here, there);
  await explains(why);
});

test("a column that may be NULL, and is of the index of the replica identity there", async () => {
  await setTables(
    stage,
    "create table t (a int); create unique index x on t (a)",
    "",
    "alter table t alter a set not null; alter table t replica identity using index x",
  );
  await mends("s.t");
});

const noInherit = "alter table kid add not null a no inherit";

test.each([
  ["SET NOT NULL", "alter table t alter a set not null", "", noInherit],
  ["NOT NULL NOT VALID", "alter table t add not null a not valid", "", noInherit],
  [
    "an inherited NOT NULL",
    "alter table t add not null a",
    "alter table t add not null a no inherit",
    noInherit,
  ],
  ["a primary key", "alter table t add primary key (a)", "", noInherit],
  [
    "a new column",
    "alter table t add c int not null",
    "",
    "alter table kid add c int; alter table kid add not null c no inherit",
  ],
  [
    "a new column beside one that may have NULL",
    "alter table t add c int not null",
    "",
    "alter table kid add c int; alter table kid add not null c not valid",
  ],
  ["a collation", "alter table t add c text", "", 'alter table kid add c text collate "C"'],
  ["an identity", "alter table t add c int generated always as identity", "", ""],
])("a child that %s cannot come to", async (_, here, there, ofChild) => {
  const kid = `create table kid () inherits (t)`;
  await setTables(stage, "create table t (a int)", here, `${kid}; ${there}; ${ofChild}`);
  await explains(/^-- .* s\.kid is in the way$/m);
});

test("a parent whose NOT NULL is inherited there, and not here", async () => {
  await setTables(
    stage,
    "create table p (a int)",
    "alter table p add not null a no inherit; create table t (a int); alter table t add not null a no inherit, inherit p",
    "alter table p add not null a; create table t (a int); alter table t add not null a no inherit",
  );
  await explains(/^-- table s.p is defined otherwise: see to it first$/m);
});

test("a column that gets NOT NULL where a child has it already", async () => {
  await setTables(
    stage,
    "create table t (a int, b int); create table kid () inherits (t); alter table kid add not null a, add not null b not valid",
    "alter table t alter a set not null, alter b set not null",
  );
  await mends("s.t");
});

const rooted = "create trigger rooted after insert on root for each row execute function touch()";
const ownTrigger = "create trigger rooted before update on t for each row execute function touch()";
const roots = `${touch}; create table root (a int) partition by list (a)`;
const attached = "create table t partition of root default";

test.each([
  [
    "does not become one",
    `${rooted}; ${attached}; alter table t disable trigger rooted`,
    `${rooted}; create table t (a date)`,
    /^-- it needs partition s\.t, which is left as it is.*\n-- alter table s\.t disable trigger/m,
  ],
  [
    "has a parent without it",
    `${rooted}; ${attached}; alter table t disable trigger rooted`,
    attached,
    /^-- table s\.root has no trigger rooted$/m,
  ],
  [
    "is to have one of its own",
    `${attached}; ${ownTrigger}`,
    `${attached}; ${rooted}`,
    /^-- trigger rooted on table s\.t is in the way$/m,
  ],
])("a trigger of its parent's, of a partition that %s", async (_, here, there, why) => {
  await setTables(stage, roots, here, there);
  await explains(why);
});

test("a trigger with the name of one that a partition will have from its parent", async () => {
  await setTables(
    stage,
    `${roots}; ${rooted}`,
    `${attached}; alter table t disable trigger rooted`,
    `create table t (a int); ${ownTrigger}`,
  );
  await mends("s.t");
});

test("arrays that are cast", async () => {
  const table = "create table t (a int, c char(3), d numeric(8, 2))";
  const after = "alter table t alter c type text";
  await setTables(
    stage,
    table,
    `alter table t add check (c = any (array['a'::char(3), 'b'])), add check (d = any (array[1, -2, a])),
       add check (d = any (array[1, -2, upper(upper(upper('7')))::int]));
     ${after}; alter table t add check (c = any (array[upper(c)::varchar, 'a,b', '[(']::varchar[]));
     create index i on t (a) where d = any (array[a]);
     create policy p on t using (c = any (array['x'::varchar]))`,
    after,
  );
  await mends("s.t");
});

test("what PostgreSQL prints of checks is read as it is thought to be", async () => {
  const { tried, changed, wrong } = await printAndRead(stage.server);
  expect(wrong).toEqual([]);
  expect(tried).toBeGreaterThan(80);
  expect(changed).toBeGreaterThan(8);
});

// printed as a cast of an array, or as casts of its elements
const first = "check (c in ('a', 'b'))";
const again = "check (c::text = any (array['a'::varchar::text, 'b'::varchar::text]))";

test("a check is printed as that of its parent", async () => {
  // as the parent has it there, the table there, and whether it is mended
  const cases = [
    [first, "", true],
    [again, "", true],
    [first, "(c varchar)", true],
    [first, `(c varchar, constraint z ${first})`, true],
    [first, `(c varchar, constraint z ${again})`, false],
    [again, `(c varchar, constraint z ${first})`, false],
  ] as const;
  const root = (check: string, i: number) =>
    `create table root${i} (c varchar, constraint z ${check}) partition by list (c)`;
  await setTables(
    stage,
    "",
    cases
      .map((_, i) => `${root(first, i)}; create table t${i} partition of root${i} default`)
      .join(";"),
    cases
      .map(([check, table], i) => `${root(check, i)}; ${table && `create table t${i} ${table}`}`)
      .join(";"),
  );
  expect(await compare(stage)).toMatchObject({ root0: "match", root1: "match", root5: "match" });
  await mends(...cases.flatMap(([, , isMended], i) => (isMended ? [`s.t${i}`] : [])));
  for (const i of [4, 5]) {
    const why = `-- constraint z on table s.root${i} means the same and is printed otherwise`;
    expect(await suggested(`s.t${i}`)).toContain(why);
  }
});

test("a check is printed as those of children", async () => {
  const kids = (i: number, ...checks: string[]) =>
    [
      `create table t${i} (c varchar)`,
      ...checks.map(
        (check, n) => `create table kid${i}${n} (constraint z ${check}) inherits (t${i})`,
      ),
    ].join("; ");
  const own = [1, 2, 3].map((i) => `alter table t${i} add constraint z ${first}`).join("; ");
  const here = [1, 2, 3].map((i) => kids(i, first)).join("; ");
  await setTables(
    stage,
    "",
    `${here}; ${own}`,
    [kids(1, first), kids(2, again), kids(3, first, again)].join("; "),
  );
  await mends("s.t1", "s.t2");
  expect(await suggested("s.t3")).toMatch(
    /^-- constraint z on table s\.kid3. means the same and is printed otherwise/m,
  );
});

test("a partition's key is called alike, whatever made it", async () => {
  const root = (i: number) => `create table root${i} (a int, b int) partition by list (a)`;
  const key = (i: number) => `alter table root${i} add primary key (a)`;
  const attach = (i: number) => `create table t${i} partition of root${i} default`;
  const own = (i: number) =>
    `create table t${i} (a int constraint k${i} primary key, b int); alter table root${i} attach partition t${i} default; ${key(i)}`;
  const unique = (...names: string[]) =>
    names.map((name) => `alter table root5 add constraint ${name} unique (a, b)`).join("; ");
  await setTables(
    stage,
    `${[1, 2, 3, 4, 5].map(root).join("; ")}; ${attach(5)}`,
    `${[1, 2, 3, 4].map(own).join("; ")}; ${unique("x", "y")}`,
    // attached, made whole, not attached yet, and without its parent's
    `${attach(1)}; ${key(1)}; ${key(2)}; ${key(3)}; create table t3 (a int primary key, b int); ${attach(4)}; ${unique("y", "x")}`,
  );
  // of two equal ones, which belongs to which counts for nothing
  expect(await compare(stage)).toMatchObject({ t1: "mismatch", root1: "match", t5: "match" });
  expect(await suggested("s.t1")).toContain("alter table s.t1 rename constraint t1_pkey to k1;");
  expect(await suggested("s.t4")).toMatch(
    /^-- constraint k4 comes with that of the parent of s\.t4: see to that first$/m,
  );
  await mends("s.t1", "s.t2", "s.t3", "s.root4", "s.t4");
});

test("a partition whose parent lacks its key is made after that", async () => {
  const root = "create table root (a int) partition by list (a)";
  await setTables(stage, root, `alter table root add primary key (a); ${attached}`);
  await explains(/^-- table s\.root has no PRIMARY KEY \(a\): see to it first$/m);
  await mends("s.root", "s.t");
});

test("a partition's own key whose index is a part of an index of its parent", async () => {
  const root = "create table root (a int) partition by list (a)";
  const [own, index] = [
    "alter table t add constraint k primary key (a)",
    "create unique index x on root (a)",
  ];
  await setTables(stage, `${root}; ${attached}`, `${own}; ${index}`, `${index}; ${own}`);
  expect(await compare(stage)).toMatchObject({ t: "mismatch", root: "match" });
  await explains(/^-- constraint k is a part of one of the parent of s\.t here: add it/m);
  await setTables(stage, `${root}; ${attached}; ${own}`, "", index);
  await explains(/^-- constraint k on table s\.t depends on it: drop it before/m, "s.root");
  await setTables(stage, `${root}; ${index}`, `${attached}; ${own}`, "");
  expect(await suggested()).toMatch(/compare again/);
});

test("what depends on a part of a key keeps the key", async () => {
  await setTables(
    stage,
    `create table root (a int) partition by list (a); ${attached}; create table r (a int)`,
    "",
    "alter table root add primary key (a); alter table r add constraint f foreign key (a) references t (a)",
  );
  await explains(/^-- constraint f on table s\.r depends on it: drop it before/m, "s.root");
});

test("a constraint that cannot be renamed keeps its name from another one", async () => {
  await setTables(
    stage,
    "create table t (a int); create table kid () inherits (t)",
    "alter table t add constraint x check (a > 0), add constraint y unique (a)",
    "alter table kid add constraint x check (a > 1); alter table t add constraint y check (a > 0)",
  );
  await explains(/^-- constraint y has its name, and is left as it is$/m);
});

test.each([
  [
    "a partition whose rows its new bounds would not take",
    "create table root (k int) partition by range (k)",
    "create table t partition of root for values from (0) to (10)",
    "create table t partition of root for values from (0) to (20); insert into root select g from generate_series(0, 19) g",
    "select count(*)::int as n from s.root",
    20,
  ],
  [
    "an index whose rows are not unique",
    "create table t (k int)",
    "create unique index i on t (k)",
    "create index i on t (k); insert into t values (1), (1)",
    "select count(*)::int as n from pg_index where indrelid = 's.t'::regclass",
    1,
  ],
])("%s stays as it was where that is refused", async (_, table, here, there, query, n) => {
  await setTables(stage, table, here, there);
  const [row] = await diff(stage, "s.t");
  const psql = await run(
    bin("psql"),
    ["-X", "-q", "-v", "ON_ERROR_STOP=0", "-d", stage.peer.uri("app")],
    { input: row?.suggested_sql ?? "", allowFailure: true },
  );
  expect(psql.stderr).toContain("ERROR");
  expect(await stage.peer.query(query, [], { database: "app" })).toEqual([{ n }]);
});
