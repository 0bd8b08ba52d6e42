/* Differences where something stands in the way of the statement that comes to mind. */

/** Name; on both sides, here, at the peer; what the diff says. */
export type Kind = [name: string, both: string, here: string, there: string, differences: string[]];

/** The key of most tables. */
export const key = "id int primary key";
/** A table with it. */
export const keyed = `create table t (${key}, v text, n int)`;
/** A function for triggers. */
export const trigger = `create function f() returns trigger language plpgsql as 'begin return new; end'`;

/** Such differences, and what schema_diff lists. */
export const obstacles: readonly Kind[] = [
  [
    "a serial column that is an identity at the peer",
    "",
    "create table t (id serial, v text); alter table t alter id drop not null",
    "create table t (id int generated always as identity, v text); insert into t (v) values ('x')",
    ["column id mismatch"],
  ],
  [
    "numbers of a sequence as text",
    "create table t (e serial)",
    "alter table t alter e type text",
    "alter table t alter e drop default, alter e type text",
    ["column e mismatch"],
  ],
  [
    "a virtual column in a table with a check",
    "create table t (a int check (a > 0), g int generated always as (a + 1) virtual)",
    "alter table t drop g, add g int generated always as (a + 2) virtual",
    "",
    ["column g mismatch"],
  ],
  [
    "a generated column over one that comes later",
    "create table t (a int)",
    "alter table t add g int generated always as (a) stored, add b int; alter table t alter g set expression as (a + b)",
    "",
    ["column b local_only", "column g local_only"],
  ],
  [
    "type and expression of a generated column under an index",
    "",
    "create table t (a int, g text generated always as (lpad(a::text, 5, '0')) stored); create index i on t (g)",
    "create table t (a int, g int generated always as (a + 1) stored); create index i on t (g)",
    ["column g mismatch"],
  ],
  [
    "the type of a column that much is made of",
    `${trigger}; create table t (v text, w int)`,
    `alter table t alter v type int using v::int; alter table t add g int generated always as (v + 1) stored,
       add constraint c check (v > 0), add constraint u unique (v);
     create index i on t (w) where v > 5; create index e on t ((v + w)); create policy p on t using (v > 1);
     create trigger r before update of v on t for each row when (new.v > 3) execute function f();
     create rule n as on delete to t where old.v > 7 do instead nothing`,
    `alter table t add g int generated always as (length(v)) stored, add constraint c check (v <> ''), add constraint u unique (v);
     create index i on t (w) where v > 'a'; create index e on t ((v || 'x')); create policy p on t using (v = '1');
     create trigger r before update of v on t for each row when (new.v = '3') execute function f();
     create rule n as on delete to t where old.v = '7' do instead nothing`,
    [
      ...["column v mismatch", "column g mismatch", "constraint c mismatch", "index i mismatch"],
      ...["index e mismatch", "policy p mismatch", "trigger r mismatch", "rule n mismatch"],
    ],
  ],
  [
    "the types of columns under what is alike",
    "",
    "create table t (a bigint, b bigint, g bigint generated always as (a + b) stored, check (a < b)); create index i on t ((a + b)) where a > b",
    "create table t (a int, b int, g bigint generated always as (a + b) stored, check (a < b)); create index i on t ((a + b)) where a > b",
    ["column a mismatch", "column b mismatch"],
  ],
  [
    "NOT NULL that is not valid, or not inherited",
    "create table t (a int, b int not null, c int, d int, e int not null, f int)",
    "alter table t add not null a not valid, alter b drop not null, add not null c no inherit; alter table t alter d set not null, add not null f not valid",
    "alter table t add not null d not valid, alter e drop not null, add not null f no inherit; alter table t add not null e no inherit",
    [
      ...["column a mismatch", "column b mismatch", "column c mismatch", "column d mismatch"],
      ...["column e mismatch", "column f mismatch"],
    ],
  ],
  [
    "rules",
    keyed,
    "create rule x as on insert to t do instead nothing; create rule y as on delete to t do also nothing; alter table t enable always rule y",
    "create rule x as on insert to t do also nothing; create rule z as on update to t do also nothing",
    ["rule z peer_only", "rule x mismatch", "rule y local_only"],
  ],
  [
    "the type of a typed table",
    "create type tt as (a int, b text)",
    "create table t of tt",
    "create table t (a int, b text)",
    ["type s.t local_only"],
  ],
  [
    "a typed table that is none here",
    "create type tt as (a int, b text); create table t of tt",
    "alter table t not of; alter table t alter a type bigint",
    "",
    ["type s.t peer_only", "column a mismatch"],
  ],
  [
    "a constraint trigger with the name of a constraint",
    `${keyed}; ${trigger}`,
    "alter table t add constraint x check (n > 0)",
    "create constraint trigger x after update on t for each row execute function f()",
    ["trigger x peer_only", "constraint x local_only"],
  ],
];
