import { SteepError } from "../db/steep-error.ts";
import type { SchemaObject, Side } from "./schema-objects.ts";

/*
 * Suggestions name what the peer has, as the peer quotes it. Definitions in them are the peer's own, for a person to
 * read; but a name must be one, or it would be a statement in the guise of one.
 */

const part = `(?:[a-z_][a-z0-9_]*|"(?:[^"]|"")+")`;
const quotedName = new RegExp(`^${part}(?:\\.${part})?$`);

function refuse(what: string): never {
  throw new SteepError({
    sqlstate: "08P01",
    message: "peer: what it says of a table is not understood",
    detail: `The name of ${what} is not quoted as PostgreSQL does it.`,
    hint: "No PostgreSQL answers there, or its catalogs have been changed.",
  });
}

/** Members of an object's facts that are names, or null. */
const names: readonly string[] = [
  "schema",
  "parent",
  "owner",
  "sequence",
  "owned_sequence",
  "replica_name",
  "not_null_name",
];

/** Members that are lists. */
const lists: readonly string[] = ["parents"];

function areCasts(cast: unknown): boolean {
  const { from, type, to, made_to } = (cast ?? {}) as Readonly<Record<string, unknown>>;
  return isText(from) && isText(type) && [to, made_to].every(Array.isArray);
}

function checkObject(object: SchemaObject | null): void {
  if (object === null) {
    refuse("an object");
  }
  const facts = ("facts" in object ? object.facts : null) as {
    readonly [name: string]: unknown;
  } | null;
  const said = [object.quoted, ...names.map((name) => facts?.[name] ?? null)];
  if (!said.every((name) => name === null || (typeof name === "string" && quotedName.test(name)))) {
    refuse(`a ${String(object.type)}`);
  }
  if (object.type === "column" && !areCasts(facts?.cast)) {
    refuse("casts of a column");
  }
  if (!lists.every((name) => facts?.[name] === undefined || Array.isArray(facts[name]))) {
    refuse(`parents of a ${String(object.type)}`);
  }
}

const isText = (value: unknown) => typeof value === "string";

const areTexts = (list: unknown, members: readonly string[]) =>
  Array.isArray(list) &&
  list.every((one: Record<string, unknown> | null) => members.every((name) => isText(one?.[name])));

/** What it says of objects that depend on each other is only compared, or printed in comments. */
function checkTies({ ties, outside, lower, kin, lacks }: Side): void {
  const isSound =
    Array.isArray(ties) &&
    ties.every((tie) => Array.isArray(tie) && tie.every(isText)) &&
    areTexts(outside, ["type", "name", "what"]) &&
    areTexts(lower, ["type", "name", "definition", "what"]) &&
    areTexts(kin, ["type", "of", "name", "definition", "compared", "what"]) &&
    areTexts(lacks, ["type", "name", "why"]);
  if (!isSound) {
    refuse("what depends on an object");
  }
}

/**
 * What a table consists of at the peer, if its names are names.
 *
 * @throws SteepError where one is not
 */
export function checkPeerSide(peer: Side): Side {
  if (!Array.isArray(peer?.objects)) {
    return refuse("no object");
  }
  for (const object of peer.objects) {
    checkObject(object);
  }
  checkTies(peer);
  return peer;
}
