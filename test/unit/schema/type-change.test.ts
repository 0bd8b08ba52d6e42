import { describe, expect, test } from "vitest";
import type { Cast } from "../../../plv8/schema/schema-objects.ts";
import { typeChange } from "../../../plv8/schema/type-change.ts";

/** As PostgreSQL prints types; without its modifier, a type has the name that means no length. */
function cast(type: string, more: Partial<Cast> = {}): Cast {
  const names: Readonly<Record<string, string>> = { character: "bpchar", bit: '"bit"' };
  const array = type.endsWith("[]") ? "[]" : "";
  const plain = type
    .replace(/\[\]$/, "")
    .replace(/\(.*?\)/, "")
    .replace(/^interval .*/, "interval");
  const from = `${names[plain] ?? plain}${array}`;
  return { from, type, is_string: false, is_enum: false, to: [], made_to: [], ...more };
}

const change = (from: string, to: string) => typeChange(cast(from), cast(to));

const nothing = { loss: null, note: null };
const spaces = { loss: null, note: "spaces at the end of values may not be kept" };
const spelling = {
  loss: null,
  note: "the spelling of values is not kept, such as zeros and spaces before a number",
};
const rounded = { loss: "values could be rounded or cut off", note: null };
const settings = {
  loss: "what the values become depends on settings, such as TimeZone and DateStyle",
  note: null,
};
const others = { loss: "values could become other ones", note: null };

const timestamp = "timestamp without time zone";
const timestamptz = "timestamp with time zone";

describe("a change of type keeps values, or raises an error", () => {
  test.each([
    // numbers
    ["integer", "bigint"],
    ["bigint", "smallint"],
    ["bigint", "numeric"],
    ["integer", "numeric(4,1)"],
    ["numeric(4,1)", "numeric"],
    ["numeric(4,1)", "numeric(3,1)"],
    ["numeric(4,1)", "numeric(9,3)"],
    ["numeric(9,0)", "smallint"],
    ["numeric(3,-2)", "integer"],
    ["numeric(5,0)", "real"],
    ["numeric(15,0)", "double precision"],
    ["smallint", "real"],
    ["integer", "double precision"],
    ["real", "double precision"],
    ["boolean", "integer"],
    ["bigint", "oid"],
    ["oid", "bigint"],
    // strings
    ["character varying(3)", "character varying(9)"],
    ["character varying(3)", "text"],
    ["character(5)", "character(3)"],
    ["character(5)", "text"],
    ["character(3)", "character varying(2)"],
    ["numeric", "text"],
    ["uuid", "character varying(10)"],
    ["integer", "character(3)"],
    ["text", "json"],
    ["jsonb", "json"],
    ["jsonb", "text"],
    ["bit(3)", "bit(5)"],
    ["bit varying(9)", "bit(5)"],
    // times
    [`timestamp(0) without time zone`, timestamp],
    [`timestamp(0) with time zone`, `timestamp(3) with time zone`],
    ["date", "timestamp(0) without time zone"],
    ["time(1) without time zone", "time(6) without time zone"],
    ["interval day to second(3)", "interval"],
    ["interval day to second(3)", "interval(3)"],
    ["interval day to second(3)", "interval day to second"],
    // others
    ["cidr", "inet"],
    ["macaddr8", "macaddr"],
    ["integer[]", "bigint[]"],
    ["numeric(4,1)[]", "numeric(9,2)[]"],
    ["integer[]", "text"],
    ["s.t(1)", "s.t"],
    ["s.t", "s.t"],
  ])("%s to %s", (from, to) => {
    expect(change(from, to)).toEqual(nothing);
  });

  test("an enum to text, and back", () => {
    const mood = cast("s.mood", { is_enum: true });
    expect(typeChange(mood, cast("text"))).toEqual(nothing);
    expect(typeChange(cast("text"), mood)).toEqual(nothing);
    expect(typeChange(mood, cast("integer"))).toEqual(others);
  });
});

describe("what does not count as a value, and may be lost, is said", () => {
  test.each([
    ["text", "character varying(3)", spaces],
    ["character varying(10)", "character varying(3)", spaces],
    ["text[]", "character varying(3)[]", spaces],
    ["text", "character(3)", spaces],
    ["bpchar", "text", spaces],
    ["name", "character varying(3)", spaces],
    ["text", "integer", spelling],
    ["character varying(3)", "numeric", spelling],
    ["text", "uuid", spelling],
    ["text", "integer[]", spelling],
  ])("%s to %s", (from, to, expected) => {
    expect(change(from, to)).toEqual(expected);
  });
});

describe("a change of type is a loss", () => {
  test.each([
    ["double precision", "numeric(4,1)", rounded],
    ["double precision", "numeric", rounded],
    ["double precision", "integer", rounded],
    ["double precision", "real", rounded],
    ["bigint", "double precision", rounded],
    ["integer", "real", rounded],
    ["numeric(4,1)", "double precision", rounded],
    ["numeric", "smallint", rounded],
    ["numeric", "numeric(9,3)", rounded],
    ["numeric(6,3)", "numeric(4,1)", rounded],
    ["numeric(6,3)[]", "numeric(4,1)[]", rounded],
    ["integer", "numeric(3,-2)", rounded],
    ["text", "numeric(4,1)", rounded],
    ["text", "double precision", rounded],
    ["text", "date", rounded],
    ["text", "timestamp(0) without time zone", rounded],
    ["text", '"char"', rounded],
    ["text", "name", rounded],
    [timestamp, "date", rounded],
    [timestamp, "time without time zone", rounded],
    [timestamp, "timestamp(0) without time zone", rounded],
    ["interval", "interval day to second", rounded],
    ["interval", "interval(2)", rounded],
    ["interval hour to minute", "interval day", rounded],
    [timestamptz, timestamp, settings],
    ["date", timestamptz, settings],
    [timestamp, "text", settings],
    ["double precision", "text", settings],
    ["bytea", "text", settings],
    ["date[]", "text", settings],
    ["json", "jsonb", others],
    ["inet", "cidr", others],
    ["integer", "boolean", others],
    ["text", "boolean", others],
    ["integer", "oid", others],
    ["circle", "polygon", others],
    ["s.t", "s.t(1)", others],
    ["s.t(2)", "s.t(1)", others],
    ["s.t", "text", others],
    ["s.integer", "bigint", others],
    ["text", "s.t", others],
  ])("%s to %s", (from, to, expected) => {
    expect(change(from, to)).toEqual(expected);
  });

  test("where a function of somebody's own makes it", () => {
    const made = { made_to: ["integer"] };
    expect(typeChange(cast("text", made), cast("integer"))).toEqual(others);
    expect(typeChange(cast("bigint[]", made), cast("integer[]"))).toEqual(others);
    expect(typeChange(cast("text", made), cast("uuid"))).toEqual(spelling);
  });
});
