import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { connectionError } from "../cli-error.ts";
import type { Environment } from "./environment.ts";
import { type Conninfo, isKeyword } from "./keywords.ts";

/** Where Debian's and PGDG's libpq look without PGSYSCONFDIR. */
const systemDirectory = "/etc/postgresql-common";

/** The settings of a service: from the user's file, else from the system's. */
export function readService(name: string, file: string | undefined, env: Environment): Conninfo {
  if (file && !existsSync(file)) throw connectionError(`service file "${file}" not found`);
  const files = [
    file || join(env.home, ".pg_service.conf"),
    join(env.variables.PGSYSCONFDIR || systemDirectory, "pg_service.conf"),
  ];
  for (const path of files) {
    const found = existsSync(path) && serviceIn(path, readFileSync(path, "utf8"), name);
    if (found) return found;
  }
  throw connectionError(
    `definition of service "${name}" not found`,
    `looked in ${files.join(" and ")}; add a section [${name}]`,
  );
}

/** Of several sections with this name, the first counts. */
export function serviceIn(path: string, text: string, name: string): Conninfo | undefined {
  let found: Conninfo | undefined;
  for (const [index, raw] of text.split(/\r?\n/).entries()) {
    const line = raw.trim();
    if (line === "" || line.startsWith("#")) continue;
    if (line.startsWith("[")) {
      if (found) return found;
      if (line === `[${name}]`) found = {};
    } else if (found) {
      readLine(found, line, `line ${index + 1} of service file "${path}"`);
    }
  }
  return found;
}

function readLine(service: Conninfo, line: string, where: string): void {
  const at = line.indexOf("=");
  const key = line.slice(0, at);
  if (at < 1 || !isKeyword(key)) {
    throw connectionError(`syntax error in ${where}`, "write keyword=value, without blanks");
  }
  if (key === "service" || key === "servicefile") {
    throw connectionError(`${key} is not allowed in ${where}`);
  }
  service[key] ??= line.slice(at + 1);
}
