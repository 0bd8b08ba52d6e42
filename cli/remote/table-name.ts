import { usageError } from "../cli-error.ts";

const part = `"((?:[^"]|"")+)"|([^\\s".]+)`;
const pattern = new RegExp(`^(?:${part})\\.(?:${part})$`);

/** Read schema.table, quoted as SQL quotes it, into the names that the catalog has. */
export function parseTableName(text: string): { readonly schema: string; readonly name: string } {
  const [, quotedSchema, schema, quotedName, name] = pattern.exec(text.trim()) ?? [];
  const nameOf = (quoted: string | undefined, plain: string | undefined) =>
    quoted?.replaceAll('""', '"') ?? plain?.replace(/[A-Z]/g, (c) => c.toLowerCase());
  const [s, n] = [nameOf(quotedSchema, schema), nameOf(quotedName, name)];
  if (s === undefined || n === undefined) {
    throw usageError(
      `"${text}" is not a qualified name`,
      "write schema.table, quoted where SQL would quote it",
    );
  }
  return { schema: s, name: n };
}
