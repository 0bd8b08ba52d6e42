import type { Json } from "../db/sql.ts";

/** One SQL argument. A default is SQL text; without one it is required. */
export interface Argument {
  readonly name: string;
  readonly type: string;
  readonly default?: string;
}

/**
 * What a function returns. A row of a table never passes through JavaScript,
 * which would change its numbers: TypeScript answers the row's key and SQL
 * fetches it.
 */
export type Returns =
  | { readonly kind: "row"; readonly table: string; readonly key: string }
  | {
      readonly kind: "record";
      readonly columns: readonly (readonly [name: string, type: string])[];
    }
  /** An array of records. Only for few rows, and no user's: they pass through JavaScript. */
  | {
      readonly kind: "rows";
      readonly columns: readonly (readonly [name: string, type: string])[];
      /** a type of this name is made of them, which may have the names of arguments */
      readonly type?: string;
    }
  | { readonly kind: "jsonb" };

/** A function of the SQL interface: the builder makes CREATE FUNCTION from this. sql/comments/ describes it. */
export interface PublicFunction {
  readonly name: string;
  readonly args: readonly Argument[];
  readonly returns: Returns;
  readonly volatility: "volatile" | "stable";
  /** Called with one member an argument; absent SQL values are null. */
  readonly run: (args: { readonly [name: string]: Json }) => Json;
}
