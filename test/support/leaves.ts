/** JSON, as a server may answer it. */
export type Json =
  | null
  | boolean
  | number
  | string
  | readonly Json[]
  | { readonly [k: string]: Json };

/** A way into JSON: names of members and numbers of items. */
export type Path = readonly (string | number)[];

/** The ways to all leaves, that is, to what is neither a list nor an object, and to empty ones. */
export function leavesOf(json: Json, path: Path = []): Path[] {
  const entries: (readonly [string | number, Json])[] =
    json === null || typeof json !== "object"
      ? []
      : Array.isArray(json)
        ? json.map((item, i) => [i, item] as const)
        : Object.entries(json);
  return entries.length === 0
    ? [path]
    : entries.flatMap(([name, item]) => leavesOf(item, [...path, name]));
}

/** JSON with another value at the end of a way. */
export function replaced(json: Json, [name, ...rest]: Path, value: Json): Json {
  if (name === undefined) return value;
  if (Array.isArray(json))
    return json.map((item: Json, i) => (i === name ? replaced(item, rest, value) : item));
  const object = json as { readonly [k: string]: Json };
  return { ...object, [name]: replaced(object[name] ?? null, rest, value) };
}
