import { SteepError } from "../db/steep-error.ts";

/*
 * What a peer says is an answer of somebody else's server, whose superuser may have it say anything. Plans are
 * made of this side's facts; of the peer's they take what is read here: numbers, booleans, and texts
 * that are compared with this side's and shown, but never stand in a statement.
 */

/** A value that a peer has said, and of what it is. */
export interface PeerValue {
  readonly of: string;
  readonly value: unknown;
}

/** @throws SteepError always: what the peer says has not the form that it must have */
export function refuse({ of }: PeerValue, expected: string): never {
  throw new SteepError({
    sqlstate: "08P01",
    message: "peer: what it says of a table is not understood",
    detail: `${of} is no ${expected}.`,
    hint: "No PostgreSQL answers there, or its catalogs have been changed.",
  });
}

/** A member of an object. */
export function member(object: PeerValue, name: string): PeerValue {
  const { value } = object;
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    return refuse(object, "object");
  }
  return {
    of: `${object.of}, ${name}`,
    value: (value as { readonly [name: string]: unknown })[name],
  };
}

/** A text, not to be put into a statement. */
export function text(from: PeerValue): string {
  return typeof from.value === "string" ? from.value : refuse(from, "text");
}

export function flag(from: PeerValue): boolean {
  return typeof from.value === "boolean" ? from.value : refuse(from, "boolean");
}

/** A number that is not negative. */
export function amount(from: PeerValue): number {
  const { value } = from;
  return typeof value === "number" && Number.isFinite(value) && value >= 0
    ? value
    : refuse(from, "amount");
}

/** The same, or null. */
export function optional<T>(from: PeerValue, read: (value: PeerValue) => T): T | null {
  return from.value === null ? null : read(from);
}

export function list<T>(from: PeerValue, read: (item: PeerValue) => T): readonly T[] {
  return Array.isArray(from.value)
    ? from.value.map((value: unknown) => read({ of: from.of, value }))
    : refuse(from, "list");
}
