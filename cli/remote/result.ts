import type { Timestamp } from "@bufbuild/protobuf/wkt";
import { usageError } from "../cli-error.ts";
import type { Column, Result, ResultRow } from "../session.ts";

/* What a message says, as a session would print it: numbers by their digits, times as PostgreSQL writes them. */

/** A value whose form in JSON is not that for people. */
interface Structure {
  readonly text: string;
  readonly json: unknown;
}

export type Value = string | number | bigint | boolean | Structure | null;

/** proto3 has no NULL: what is empty was not said. */
export const said = (text: string): string | null => (text === "" ? null : text);

/** A number of which 0 says nothing. */
export const counted = <T extends number | bigint>(value: T): T | null =>
  Number(value) === 0 ? null : value;

/** A float has seven digits, and JavaScript would print the noise behind them. */
export const rounded = (value: number): number => Number(value.toPrecision(7));

/** In UTC; one that is out of all calendars was not said. */
export function time(stamp: Timestamp | undefined): string | null {
  if (stamp === undefined) return null;
  const date = new Date(Number(stamp.seconds) * 1000 + Math.trunc(stamp.nanos / 1e6));
  return Number.isNaN(date.getTime())
    ? null
    : date.toISOString().replace("T", " ").replace("Z", "+00");
}

export function rowOf(values: Readonly<Record<string, Value>>): ResultRow {
  const entries = Object.entries(values);
  const members = entries.map(([name, value]) => `${JSON.stringify(name)}:${jsonOf(value)}`);
  return {
    values: Object.fromEntries(entries.map(([name, value]) => [name, textOf(value)])),
    json: `{${members.join(",")}}`,
  };
}

/** Rows in columns; the names of those that hold numbers. */
export function resultOf(
  columns: readonly string[],
  numbers: readonly string[],
  rows: readonly Readonly<Record<string, Value>>[],
): Result {
  return {
    columns: columns.map((name): Column => ({ name, isNumber: numbers.includes(name) })),
    rows: rows.map(rowOf),
  };
}

function textOf(value: Value): string | null {
  if (value === null) return null;
  if (typeof value === "boolean") return value ? "t" : "f";
  return typeof value === "object" ? value.text : String(value);
}

function jsonOf(value: Value): string {
  return typeof value === "object" && value !== null ? json(value.json) : json(value);
}

/** As JSON.stringify, and with all digits of whole numbers; NaN and infinity are null there. */
function json(value: unknown): string {
  if (typeof value === "bigint") return value.toString();
  if (Array.isArray(value)) return `[${value.map(json).join(",")}]`;
  if (typeof value !== "object" || value === null) return JSON.stringify(value) ?? "null";
  const members = Object.entries(value).map(([name, v]) => `${JSON.stringify(name)}:${json(v)}`);
  return `{${members.join(",")}}`;
}

/** A whole number as a field of 32 bits takes it. */
export function int32(flag: string, digits: string | undefined): number {
  const value = Number(digits ?? 0);
  if (value < -(2 ** 31) || value >= 2 ** 31) {
    throw usageError(`${flag} is out of range: ${digits}`, "give a smaller number");
  }
  return value;
}
