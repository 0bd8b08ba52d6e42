import { readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import type { Environment } from "./environment.ts";

export interface PasswordKey {
  /** `localhost` for the default socket directory. */
  readonly host: string;
  readonly port: string;
  readonly dbname: string;
  readonly user: string;
}

/** The password that .pgpass has for a connection, if it has one and nobody else may read it. */
export function passwordFromFile(
  file: string | undefined,
  key: PasswordKey,
  env: Environment,
): string | undefined {
  const path = file || join(env.home, ".pgpass");
  const stat = statSync(path, { throwIfNoEntry: false });
  if (!stat) return undefined;
  if (!stat.isFile()) {
    env.warn(`password file "${path}" is not a plain file and is ignored`);
    return undefined;
  }
  if ((stat.mode & 0o077) !== 0) {
    env.warn(`password file "${path}" has group or world access and is ignored; chmod 0600 it`);
    return undefined;
  }
  return passwordIn(readFileSync(path, "utf8"), key);
}

/** The first line that fits counts. */
export function passwordIn(text: string, { host, port, dbname, user }: PasswordKey) {
  for (const line of text.split(/\r?\n/)) {
    if (line.startsWith("#")) continue;
    const fields = splitFields(line);
    if (fields.length < 5) continue;
    const wanted = [host, port, dbname, user];
    const fits = wanted.every((value, i) => fields[i] === "*" || unescaped(fields[i]) === value);
    // an empty password is none, as for libpq
    if (fits) return unescaped(fields[4]) || undefined;
  }
  return undefined;
}

/** Four fields and the rest: a colon in the password itself needs no backslash. */
function splitFields(line: string): readonly string[] {
  const fields =
    /^((?:[^:\\]|\\.)*):((?:[^:\\]|\\.)*):((?:[^:\\]|\\.)*):((?:[^:\\]|\\.)*):(.*)$/.exec(line);
  return fields?.slice(1) ?? [];
}

function unescaped(text = ""): string {
  return text.replace(/\\(.)/g, "$1");
}
