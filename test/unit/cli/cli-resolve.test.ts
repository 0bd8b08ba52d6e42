import { chmodSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import type { Environment } from "../../../cli/connection/environment.ts";
import { passwordFromFile, passwordIn } from "../../../cli/connection/password-file.ts";
import { resolveTarget } from "../../../cli/connection/resolve.ts";
import { encryptions, sslmodeOf } from "../../../cli/connection/ssl.ts";

let home: string;
let warnings: string[];

beforeEach(() => {
  home = mkdtempSync(join(tmpdir(), "steep-cli-"));
  warnings = [];
});
afterEach(() => rmSync(home, { recursive: true }));

function environment(variables: Environment["variables"] = {}): Environment {
  return { variables, home, user: "me", warn: (text) => warnings.push(text) };
}

describe("where a setting comes from", () => {
  test("the connection string, then the service, then the environment, then a default", () => {
    writeFileSync(
      join(home, ".pg_service.conf"),
      "# mine\n[other]\nhost=no\n[shop]\nhost=service\nport=3\nuser=service\n[shop]\ndbname=no\n",
    );
    const variables = { PGHOST: "env", PGPORT: "4", PGUSER: "env", PGDATABASE: "env" };
    const { settings, candidates, user, dbname } = resolveTarget(
      "host=string service=shop",
      environment(variables),
    );
    expect(settings).toMatchObject({ host: "string", port: "3" });
    expect(candidates).toMatchObject([{ host: "string", port: 3 }]);
    expect([user, dbname]).toEqual(["service", "env"]);
  });

  test("user is the system's, database the user's name", () => {
    expect(resolveTarget(undefined, environment())).toMatchObject({ user: "me", dbname: "me" });
    expect(resolveTarget("user=you", environment())).toMatchObject({ dbname: "you" });
  });

  test("an empty value in the connection string keeps the environment out", () => {
    expect(resolveTarget("user=''", environment({ PGUSER: "env" })).user).toBe("me");
  });

  test("a service that is not there, or has an unknown keyword", () => {
    writeFileSync(join(home, ".pg_service.conf"), "[bad]\nhots=a\n");
    const resolve = (name: string) => () => resolveTarget(`service=${name}`, environment());
    expect(resolve("none")).toThrow('definition of service "none" not found');
    expect(resolve("bad")).toThrow("syntax error in line 2 of service file");
    expect(() => resolveTarget("service=x", environment({ PGSERVICEFILE: "/nope" }))).toThrow(
      'service file "/nope" not found',
    );
  });
});

describe("hosts and ports", () => {
  test("one port serves all hosts, or each has its own", () => {
    const ports = (text: string) =>
      resolveTarget(text, environment()).candidates.map((c) => c.port);
    expect(ports("host=a,b port=1")).toEqual([1, 1]);
    expect(ports("host=a,b port=1,2")).toEqual([1, 2]);
    expect(ports("host=a,b port=,2")).toEqual([5432, 2]);
    expect(() => ports("host=a,b,c port=1,2")).toThrow("could not match 2 port numbers to 3 hosts");
    expect(() => ports("host=a port=70000")).toThrow('invalid port number: "70000"');
    expect(() => ports("host=a port=x")).toThrow('invalid port number: "x"');
  });

  test("hostaddr is what is connected to, host what is verified", () => {
    expect(resolveTarget("host=a hostaddr=127.0.0.1", environment()).candidates).toMatchObject([
      { host: "a", address: "127.0.0.1", passwordHost: "a" },
    ]);
  });

  test("a socket directory has no SSL", () => {
    const { candidates, settings } = resolveTarget("host=/tmp/x sslmode=require", environment());
    expect(candidates[0]).toMatchObject({ isSocket: true, passwordHost: "/tmp/x" });
    expect(encryptions(settings, candidates[0])).toEqual(["plain"]);
  });

  test("without a host it is the default socket, which .pgpass calls localhost", () => {
    const [candidate] = resolveTarget(undefined, environment()).candidates;
    expect(candidate).toMatchObject({ isSocket: true, passwordHost: "localhost" });
  });
});

test.each([
  ["sslmode=maybe", 'invalid sslmode value: "maybe"'],
  ["require_auth=scram-sha-256", "not supported"],
  ["channel_binding=require", "not supported"],
  ["gssencmode=require", "not supported"],
  ["connect_timeout=soon", "invalid integer"],
])("%s is refused", (text, message) => {
  expect(() => resolveTarget(text, environment())).toThrow(message);
});

test("sslmode is prefer by default, and verify-full with the system's roots", () => {
  expect(sslmodeOf({})).toBe("prefer");
  expect(sslmodeOf({ sslrootcert: "system" })).toBe("verify-full");
});

describe(".pgpass", () => {
  const key = { host: "h", port: "5432", dbname: "d", user: "u" };

  test.each([
    ["h:5432:d:u:secret", "secret"],
    ["*:*:*:*:x", "x"],
    ["#h:5432:d:u:no\nh:5432:d:u:yes", "yes"],
    ["h:5432:d:other:no\nh:*:d:u:first\nh:*:d:u:second", "first"],
    [String.raw`h:5432:d:u:a\:b\\c:d`, String.raw`a:b\c:d`],
    ["h:5433:d:u:no", undefined],
    ["h:5432:d:u:", undefined],
    ["", undefined],
  ])("%s", (text, password) => {
    expect(passwordIn(text, key)).toBe(password);
  });

  test("colons and backslashes in names are escaped", () => {
    const odd = { ...key, host: "::1", dbname: "a\\b" };
    expect(passwordIn(String.raw`\:\:1:5432:a\\b:u:secret`, odd)).toBe("secret");
  });

  test("a file that others may read is ignored, with a warning", () => {
    const file = join(home, ".pgpass");
    writeFileSync(file, "*:*:*:*:secret", { mode: 0o644 });
    expect(passwordFromFile(undefined, key, environment())).toBeUndefined();
    expect(warnings.join()).toContain("group or world access");
    chmodSync(file, 0o600);
    expect(passwordFromFile(undefined, key, environment())).toBe("secret");
    expect(passwordFromFile("/nope", key, environment())).toBeUndefined();
  });
});
