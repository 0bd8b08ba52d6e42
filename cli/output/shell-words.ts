import type { Conninfo } from "../connection/keywords.ts";
import { parseConninfo } from "../connection/parse-conninfo.ts";

const secret: ReadonlySet<string> = new Set(["password", "sslpassword"]);

/** A word as a POSIX shell reads it. */
export function shellWord(text: string): string {
  return /^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`;
}

/** A connection string in libpq's keyword form, without passwords. */
export function publicConninfo(conninfo: Conninfo): string {
  return Object.entries(conninfo)
    .filter(([name]) => !secret.has(name))
    .map(([name, value]) => `${name}=${conninfoValue(value)}`)
    .join(" ");
}

function conninfoValue(value: string): string {
  return /^[^\s'\\]+$/.test(value) ? value : `'${value.replace(/['\\]/g, "\\$&")}'`;
}

/** The flags with which a command connects as this one did. */
export function commandOptions(connection: string | undefined, direct: boolean): string {
  const flags = direct ? ["--direct"] : [];
  if (connection !== undefined) {
    flags.push("-c", shellWord(publicConninfo(parseConninfo(connection))));
  }
  return flags.map((flag) => ` ${flag}`).join("");
}
