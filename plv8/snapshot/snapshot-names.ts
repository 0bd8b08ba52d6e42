import { SteepError } from "../db/steep-error.ts";
import { isExtensionMember, isUserSchema } from "./snapshot-catalog.ts";

/** Which of the names in `tables` and `schemas` a snapshot cannot be limited to, joined. */
export interface NameFacts {
  readonly missing_tables: string | null;
  readonly missing_schemas: string | null;
  /** they exist, but are nothing that a snapshot contains */
  readonly unfit: string | null;
}

/** CTEs over $1 = the job's params. */
export const namedCtes = `
  named_table(name, oid) as (
    select t.name, steep_repl._to_regclass(t.name)::oid
    from jsonb_array_elements_text(nullif($1 -> 'tables', 'null')) t(name)),
  named_schema(name, oid) as (
    select s.name, n.oid
    from jsonb_array_elements_text(nullif($1 -> 'schemas', 'null')) s(name)
    left join pg_namespace n on n.nspname = s.name),
  unfit(name) as (
    select t.name from named_table t
    join pg_class c on c.oid = t.oid join pg_namespace n on n.oid = c.relnamespace
    where c.relkind not in ('r', 'p', 'v', 'm', 'S', 'f') or c.relpersistence = 't'
       or not ${isUserSchema}
       or (${isExtensionMember("pg_class", "c.oid")}
           and not exists (select from pg_extension e where c.oid = any (e.extconfig)))
    union all
    select s.name from named_schema s join pg_namespace n on n.oid = s.oid
    where not ${isUserSchema})`;

/** Columns of a query over those CTEs: the members of NameFacts. */
export const nameColumns = `
  (select string_agg(t.name, ', ') from named_table t where t.oid is null) as missing_tables,
  (select string_agg(s.name, ', ') from named_schema s where s.oid is null) as missing_schemas,
  (select string_agg(u.name, ', ') from unfit u) as unfit`;

/** Asked when a snapshot is queued and again when it runs: less than what was named is no snapshot. */
export function refuseNames(facts: Partial<NameFacts>): void {
  if (facts.missing_tables) {
    throw new SteepError({
      sqlstate: "42P01",
      message: `table does not exist: ${facts.missing_tables}`,
      hint: "Give each table as schema.table, quoted where SQL would quote it.",
    });
  }
  if (facts.missing_schemas) {
    throw new SteepError({
      sqlstate: "3F000",
      message: `schema does not exist: ${facts.missing_schemas}`,
    });
  }
  if (facts.unfit) {
    throw new SteepError({
      sqlstate: "22023",
      message: `a snapshot cannot contain ${facts.unfit}`,
      hint: "Name permanent tables, views or sequences, and no system schema, nor what belongs to an extension, except the tables and sequences of its configuration.",
    });
  }
}
