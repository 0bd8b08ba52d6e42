import { usageError } from "../cli-error.ts";
import { type Conninfo, isKeyword } from "./keywords.ts";

const uriStart = /^postgres(?:ql)?:\/\//;

// key, blanks around "=", then a quoted value or a bare one; in both a backslash takes the next character as it is
const pair =
  /\s*([^\s=]+)\s*(=?)\s*('((?:[^'\\]|\\[\s\S])*)('?)|((?:[^\s'\\]|\\[\s\S])(?:[^\s\\]|\\[\s\S])*)?)/y;

/**
 * Read a connection string in either of libpq's forms.
 * Messages never hold a value: any of them may be the password.
 */
export function parseConninfo(text: string): Conninfo {
  return uriStart.test(text) ? parseUri(text) : parsePairs(text);
}

/** Note a value, if libpq knows its keyword. */
export function setKeyword(conninfo: Conninfo, name: string, value: string, where: string): void {
  if (!isKeyword(name)) {
    throw usageError(`invalid connection option "${name}" in ${where}`, optionsHint);
  }
  conninfo[name] = value;
}

const optionsHint = "see -c in --help; names are those of libpq, such as host, port, dbname, user";

function parsePairs(text: string): Conninfo {
  const conninfo: Conninfo = {};
  const trimmed = text.trim();
  pair.lastIndex = 0;
  while (pair.lastIndex < trimmed.length) {
    const [, name, equals, value = "", quoted, closed, bare] = pair.exec(trimmed) ?? [];
    if (name === undefined) throw usageError("the connection string cannot be read", formHint);
    if (!equals) {
      throw usageError(`missing "=" after "${nameOnly(name)}" in the connection string`, formHint);
    }
    if (value.startsWith("'") && !closed) {
      throw usageError("unterminated quoted string in the connection string", formHint);
    }
    setKeyword(conninfo, name, unescaped(quoted ?? bare ?? ""), "the connection string");
  }
  return conninfo;
}

const formHint =
  "write host=... port=... dbname=... user=..., values with blanks in single quotes, or postgresql://user@host:port/dbname";

/** What stands where a keyword should may be a part of a password with a blank in it. */
function nameOnly(name: string): string {
  return isKeyword(name) ? name : "...";
}

function unescaped(text: string): string {
  return text.replace(/\\([\s\S])/g, "$1");
}

function parseUri(uri: string): Conninfo {
  const conninfo: Conninfo = {};
  const rest = uri.replace(uriStart, "");
  const [location = "", query] = splitOnce(rest, "?");
  const [authority = "", dbname] = splitOnce(location, "/");
  const at = authority.lastIndexOf("@");
  if (at >= 0) readUser(conninfo, authority.slice(0, at));
  readHosts(conninfo, authority.slice(at + 1));
  if (dbname) conninfo.dbname = decode(dbname);
  for (const parameter of query?.split("&") ?? []) readParameter(conninfo, parameter);
  return conninfo;
}

function readUser(conninfo: Conninfo, text: string): void {
  const [user = "", password] = splitOnce(text, ":");
  if (user !== "") conninfo.user = decode(user);
  if (password) conninfo.password = decode(password);
}

/** `host:port,host:port`, where an IPv6 address stands in brackets. */
function readHosts(conninfo: Conninfo, text: string): void {
  if (text === "") return;
  const hosts: string[] = [];
  const ports: string[] = [];
  for (const part of text.split(",")) {
    const match = /^(?:\[([^\]]+)\]|([^:[\]]*))(?::(.*))?$/.exec(part);
    if (!match) {
      throw usageError(
        "the host in the connection URI cannot be read",
        "write an IPv6 address in brackets, as in [::1]:5432",
      );
    }
    hosts.push(decode(match[1] ?? match[2] ?? ""));
    ports.push(decode(match[3] ?? ""));
  }
  if (hosts.some(Boolean)) conninfo.host = hosts.join(",");
  if (ports.some(Boolean)) conninfo.port = ports.join(",");
}

function readParameter(conninfo: Conninfo, text: string): void {
  const [name = "", value] = splitOnce(text, "=");
  if (value === undefined) {
    throw usageError(`missing "=" after a parameter of the connection URI`, formHint);
  }
  const decoded = decode(name);
  // JDBC's spelling, which libpq takes too
  if (decoded === "ssl" && value === "true") conninfo.sslmode = "require";
  else setKeyword(conninfo, decoded, decode(value), "the connection URI");
}

function splitOnce(text: string, separator: string): [string, string?] {
  const at = text.indexOf(separator);
  return at < 0 ? [text] : [text.slice(0, at), text.slice(at + 1)];
}

function decode(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    throw usageError(
      "a percent sign in the connection URI is not followed by two hexadecimal digits",
      "write a percent sign as %25",
    );
  }
}
