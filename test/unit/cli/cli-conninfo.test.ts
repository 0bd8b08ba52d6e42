import { describe, expect, test } from "vitest";
import { CliError } from "../../../cli/cli-error.ts";
import { parseConninfo } from "../../../cli/connection/parse-conninfo.ts";
import { publicConninfo } from "../../../cli/output/shell-words.ts";

function failure(text: string): CliError {
  try {
    parseConninfo(text);
  } catch (error) {
    if (error instanceof CliError) return error;
    throw error;
  }
  throw new Error(`${text} was accepted`);
}

describe("keyword form", () => {
  test.each([
    ["host=a port=5433", { host: "a", port: "5433" }],
    ["  host = a   dbname='my db' ", { host: "a", dbname: "my db" }],
    [String.raw`password='it\'s \\ so'`, { password: String.raw`it's \ so` }],
    [String.raw`password=a\ b user=c`, { password: "a b", user: "c" }],
    ["password=it's user=c", { password: "it's", user: "c" }],
    ["host='' user=c", { host: "", user: "c" }],
    ["host=a host=b", { host: "b" }],
    ["", {}],
  ])("%s", (text, expected) => {
    expect(parseConninfo(text)).toEqual(expected);
  });

  test.each([
    ["hots=a", 'invalid connection option "hots"'],
    ["mydb", 'missing "="'],
    ["password='secret", "unterminated quoted string"],
    ["password=my secret", 'missing "="'],
  ])("%s is refused, without its values", (text, message) => {
    expect(failure(text)).toMatchObject({ code: 2, hint: expect.any(String) });
    expect(failure(text).message).toContain(message);
    expect(`${failure(text).message} ${failure(text).hint}`).not.toContain("secret");
  });
});

describe("URI form", () => {
  test.each([
    ["postgresql://", {}],
    ["postgres://localhost/mydb", { host: "localhost", dbname: "mydb" }],
    [
      "postgresql://u:p%40%3A@h:5433/d%20b",
      { user: "u", password: "p@:", host: "h", port: "5433", dbname: "d b" },
    ],
    ["postgresql://u:p@ss@h/d", { user: "u", password: "p@ss", host: "h", dbname: "d" }],
    ["postgresql://h1:1,h2:2/d", { host: "h1,h2", port: "1,2", dbname: "d" }],
    ["postgresql://h1,h2:2/d", { host: "h1,h2", port: ",2", dbname: "d" }],
    ["postgresql://[::1]:5433/d", { host: "::1", port: "5433", dbname: "d" }],
    ["postgresql:///d?host=/tmp&port=1", { host: "/tmp", port: "1", dbname: "d" }],
    ["postgresql://%2Ftmp/d", { host: "/tmp", dbname: "d" }],
    [
      "postgresql://h?sslmode=require&options=-c%20x%3D1",
      { host: "h", sslmode: "require", options: "-c x=1" },
    ],
    ["postgresql://h?ssl=true", { host: "h", sslmode: "require" }],
  ])("%s", (text, expected) => {
    expect(parseConninfo(text)).toEqual(expected);
  });

  test.each([
    ["postgresql://u:sec%ret@h", "percent sign"],
    ["postgresql://h?hots=a", 'invalid connection option "hots"'],
    ["postgresql://h?sslmode", 'missing "="'],
    ["postgresql://[::1/d", "host"],
  ])("%s is refused", (text, message) => {
    expect(failure(text).message).toContain(message);
  });
});

test("what is shown again has no password, and reads as it was", () => {
  const conninfo = {
    host: "h",
    dbname: "it's \\ so",
    user: "",
    password: "hush",
    sslpassword: "hush",
  };
  const shown = publicConninfo(conninfo);
  expect(shown).not.toContain("hush");
  expect(parseConninfo(shown)).toEqual({ host: "h", dbname: "it's \\ so", user: "" });
});
