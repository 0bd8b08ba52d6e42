import type { Json } from "../db/sql.ts";
import { invalidArgument } from "../db/steep-error.ts";

/*
 * Reading a job's parameters, which a role may have put into the queue by
 * itself. Each raises 22023 for a value that cannot be used.
 */

/** The most copy workers or appliers that a job may ask for. */
const maxParallel = 64;

/** Of SQL's type integer. */
const maxInteger = 2147483647;

export type Raw = { readonly [name: string]: Json };

export function optionalText(raw: Raw, name: string): string | null {
  const value = raw[name] ?? null;
  if (value !== null && typeof value !== "string") {
    throw invalidArgument(`${name} must be text`);
  }
  return value;
}

export function requiredText(raw: Raw, name: string): string {
  const value = optionalText(raw, name);
  if (value === null || value === "") {
    throw invalidArgument(`${name} must not be null or empty`);
  }
  return value;
}

export function optionalNames(raw: Raw, name: string): readonly string[] | null {
  const value = raw[name] ?? null;
  if (value === null) {
    return null;
  }
  if (!Array.isArray(value) || value.length === 0) {
    throw invalidArgument(`${name} must name at least one`, `Leave ${name} out for all.`);
  }
  for (const item of value as readonly Json[]) {
    if (typeof item !== "string" || item === "") {
      throw invalidArgument(`${name} must not contain null or empty names`);
    }
  }
  return value as readonly string[];
}

export function oneOf<T extends string>(raw: Raw, name: string, values: readonly T[]): T {
  const value = requiredText(raw, name);
  const found = values.find((v) => v === value);
  if (found === undefined) {
    throw invalidArgument(`unknown ${name} "${value}"`, `Use one of ${values.join(", ")}.`);
  }
  return found;
}

export function integer(raw: Raw, name: string): number | null {
  const value = raw[name] ?? null;
  const isInteger = typeof value === "number" && Number.isInteger(value);
  if (value !== null && !(isInteger && Math.abs(value) <= maxInteger)) {
    throw invalidArgument(`${name} must be an integer`);
  }
  return value as number | null;
}

export function parallelOf(raw: Raw): number {
  const value = integer(raw, "parallel");
  if (value === null || value < 1 || value > maxParallel) {
    throw invalidArgument(`parallel must be between 1 and ${maxParallel}`);
  }
  return value;
}

export function flag(raw: Raw, name: string): boolean {
  const value = raw[name] ?? null;
  if (typeof value !== "boolean") {
    throw invalidArgument(`${name} must be true or false`);
  }
  return value;
}

/** A column that nothing would be decided by is a mistake. */
export function checkLastModifiedColumn({
  strategy,
  last_modified_column,
}: {
  readonly strategy: string;
  readonly last_modified_column: string | null;
}): void {
  if (last_modified_column !== null && strategy !== "last-modified") {
    throw invalidArgument(
      "last_modified_column needs strategy last-modified",
      "Without it the column would not be looked at.",
    );
  }
}
