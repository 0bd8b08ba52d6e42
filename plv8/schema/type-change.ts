import type { Cast } from "./schema-objects.ts";

/*
 * What becomes of the values of a column that gets another type. Known are the changes of type that keep each value,
 * or raise an error where they would not; whatever is not known counts as a loss.
 */

/** What becomes of values. */
export interface TypeChange {
  /** why some may not be what they were, or null */
  readonly loss: string | null;
  /** what of them does not count as their value, and may be lost, or null */
  readonly note: string | null;
}

const rounded = "values could be rounded or cut off";
const setting = "what the values become depends on settings, such as TimeZone and DateStyle";
const others = "values could become other ones";
const spelling = "the spelling of values is not kept, such as zeros and spaces before a number";
const spaces = "spaces at the end of values may not be kept";

/** A type or, of an array, that of its elements: a domain counts as what it is over. */
interface Type {
  readonly name: string;
  readonly isArray: boolean;
  readonly isEnum: boolean;
  /** length, precision, or precision and scale; null if none */
  readonly modifier: readonly number[] | null;
  /** what the values of an interval are made of, "" for all */
  readonly fields: string;
}

function typeOf({ from, type, is_enum: isEnum }: Cast): Type {
  const name = from.replace(/\[\]$/, "");
  const numbers = /\((-?\d+)(?:,(-?\d+))?\)/.exec(type);
  return {
    name,
    isArray: name !== from,
    isEnum,
    modifier:
      numbers === null
        ? null
        : numbers
            .slice(1)
            .filter((n) => n !== undefined)
            .map(Number),
    fields: name === "interval" ? (/^interval ([a-z ]+)/.exec(type)?.[1] ?? "") : "",
  };
}

const integers: ReadonlyMap<string, number> = new Map([
  ["smallint", 5],
  ["integer", 10],
  ["bigint", 19],
]);

const strings: ReadonlySet<string> = new Set(["text", "character varying", "bpchar"]);

/** Types whose text is the same in every session, and says all of a value. */
const printed: ReadonlySet<string> = new Set([
  ...strings,
  ...integers.keys(),
  ...["name", "numeric", "boolean", "oid", "uuid", "json", "jsonb", '"bit"', "bit varying"],
  ...["inet", "cidr", "macaddr", "macaddr8", "int4range", "int8range", "numrange"],
]);

/** Types that a text is read as without loss, but for how it is spelled. */
const read: ReadonlySet<string> = new Set([
  ...integers.keys(),
  ...["numeric", "uuid", '"bit"', "bit varying", "inet", "macaddr", "macaddr8"],
]);

const zoned: ReadonlySet<string> = new Set(["timestamp with time zone", "time with time zone"]);

const times: ReadonlySet<string> = new Set([
  ...zoned,
  ...["date", "timestamp without time zone", "time without time zone", "interval"],
]);

/** Types whose text depends on settings. */
const printedBySettings: ReadonlySet<string> = new Set([
  ...times,
  ...["real", "double precision", "bytea", "money", "tsrange", "tstzrange", "daterange"],
]);

/** Digits behind the point that a number may have, or null if there is no limit. */
function scaleOf({ name, modifier }: Type): number | null {
  return integers.has(name) ? 0 : name === "numeric" ? (modifier?.[1] ?? null) : null;
}

/** Digits that a whole number may have, or null if it may have a fraction. */
function wholeDigits(type: Type): number | null {
  const scale = scaleOf(type);
  return scale === null || scale > 0
    ? null
    : (integers.get(type.name) ?? (type.modifier?.[0] ?? 0) - scale);
}

function fits(type: Type, digits: number): boolean {
  const own = wholeDigits(type);
  return own !== null && own <= digits;
}

/** The first number of a modifier is the precision of seconds, and six digits are all. */
const seconds = ({ modifier }: Type) => modifier?.[0] ?? 6;

/** Whether another modifier keeps all values, or raises an error. */
function isModifierKept(from: Type, to: Type): boolean {
  switch (to.name) {
    case "text":
    case "character varying":
    case "bpchar":
    case '"bit"':
    case "bit varying":
      return true;
    case "numeric": {
      const scale = scaleOf(from);
      return to.modifier === null || (scale !== null && scale <= (scaleOf(to) ?? 0));
    }
    case "interval":
      return (to.fields === "" || to.fields === from.fields) && seconds(to) >= seconds(from);
    default:
      return to.modifier === null || (times.has(to.name) && seconds(to) >= seconds(from));
  }
}

/** Pairs of types of which the first is kept by the second, or an error raised. */
const kept: ReadonlySet<string> = new Set([
  ...["boolean > integer", "bigint > oid", "oid > bigint", "real > double precision"],
  ...["date > timestamp without time zone", "jsonb > json", "cidr > inet"],
  ...["macaddr > macaddr8", "macaddr8 > macaddr", '"bit" > bit varying', 'bit varying > "bit"'],
]);

/** Whether a string is read as a value of another type: it is kept, but for its spelling, or is no such value. */
function isRead(from: Type, to: Type): boolean {
  return (
    strings.has(from.name) &&
    !from.isArray &&
    (to.isEnum || to.name === "json" || (read.has(to.name) && isModifierKept(from, to)))
  );
}

/** Whether all values are kept, or an error is raised, if none is an array, or all are. */
function isKept(from: Type, to: Type): boolean {
  if (strings.has(to.name)) {
    return printed.has(from.name) || from.isEnum;
  }
  switch (to.name) {
    case "numeric":
      return integers.has(from.name) && isModifierKept(from, to);
    case "real":
      return fits(from, 6);
    case "double precision":
      return fits(from, 15) || from.name === "real";
    default:
      return (
        (integers.has(to.name) && wholeDigits(from) !== null) ||
        kept.has(`${from.name} > ${to.name}`)
      );
  }
}

/** Whether values may end in spaces that another type of strings does not keep. */
function losesSpaces(from: Type, to: Type): boolean {
  if (!strings.has(to.name) || from.isArray !== to.isArray) {
    return false;
  }
  if (from.name === "bpchar") {
    // without a length it has spaces that count for nothing, but are printed
    return from.modifier === null && (to.name !== "bpchar" || to.modifier !== null);
  }
  const length = ({ name, modifier }: Type) =>
    (strings.has(name) ? modifier?.[0] : undefined) ?? Number.POSITIVE_INFINITY;
  return (
    (strings.has(from.name) || from.name === "name" || from.name === "json" || from.isEnum) &&
    (to.name === "bpchar" || length(from) > length(to))
  );
}

/** Why values would not be kept. */
function lossOf(from: Type, to: Type): string {
  const isZone = zoned.has(from.name) !== zoned.has(to.name);
  if (
    (strings.has(to.name) && printedBySettings.has(from.name)) ||
    (isZone && times.has(from.name) && times.has(to.name))
  ) {
    return setting;
  }
  const isMeasured = ({ name }: Type) =>
    strings.has(name) ||
    integers.has(name) ||
    times.has(name) ||
    ["numeric", "real", "double precision", "name", '"char"'].includes(name);
  return isMeasured(from) && isMeasured(to) ? rounded : others;
}

const isKnown = ({ name }: Type) => name === "numeric" || times.has(name);

const lost = (loss: string): TypeChange => ({ loss, note: null });

/** What becomes of values of a type that are assigned to another, or cast to it without a modifier first. */
export function typeChange(fromCast: Cast, toCast: Cast): TypeChange {
  const from = typeOf(fromCast);
  const to = typeOf(toCast);
  if (fromCast.from === toCast.from) {
    const isSame = fromCast.type === toCast.type || toCast.type === toCast.from;
    return isSame || isModifierKept(from, to)
      ? { loss: null, note: losesSpaces(from, to) ? spaces : null }
      : lost(isKnown(to) ? rounded : others);
  }
  // a function of somebody's own may do anything
  if (fromCast.made_to.includes(toCast.from) || fromCast.made_to.includes(to.name)) {
    return lost(others);
  }
  if (isRead(from, to)) {
    return { loss: null, note: read.has(to.name) || to.isArray ? spelling : null };
  }
  return (from.isArray === to.isArray || strings.has(toCast.from)) && isKept(from, to)
    ? { loss: null, note: losesSpaces(from, to) ? spaces : null }
    : lost(lossOf(from, to));
}
