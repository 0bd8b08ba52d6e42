import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { ServerCredentials } from "@grpc/grpc-js";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { makeCertificates } from "../../../cli/daemon/certificates.ts";
import { cliHere } from "../../support/cli-here.ts";
import { WireServer } from "../../support/grpc/server.ts";

/* Whom the command line trusts, and what it says where it does not. The daemons are of another library. */

let home: string;
const dir = (name: string) => join(home, "tls", name);
const read = (name: string, part: string) => readFileSync(join(dir(name), part));

const health = { "Coordinator.HealthCheck": () => ({ status: "SERVING" }) };
const servers: Record<string, WireServer> = {};

/** A daemon with the certificate of a directory; it may ask for one of its authority. */
function secured(name: string, asks: boolean) {
  const pair = { cert_chain: read(name, "server.crt"), private_key: read(name, "server.key") };
  return ServerCredentials.createSsl(asks ? read(name, "ca.crt") : null, [pair], asks);
}

beforeAll(async () => {
  home = mkdtempSync(join(tmpdir(), "steep-tls-"));
  vi.stubEnv("HOME", home);
  vi.stubEnv("XDG_CONFIG_HOME", undefined);
  await makeCertificates(dir("ours"), "daemon", ["localhost", "127.0.0.1"], 1);
  await makeCertificates(dir("others"), "somebody else", ["localhost", "127.0.0.1"], 1);
  await makeCertificates(dir("expired"), "daemon", ["localhost", "127.0.0.1"], -1);
  await makeCertificates(dir("named"), "daemon", ["db1.example"], 1);
  servers.plain = await WireServer.start(health);
  for (const name of ["ours", "expired", "named"])
    servers[name] = await WireServer.start(health, secured(name, false));
  servers.asking = await WireServer.start(health, secured("ours", true));
});
afterAll(() => {
  vi.unstubAllEnvs();
  for (const server of Object.values(servers)) server.stop();
  rmSync(home, { recursive: true });
});

const ca = (name: string) => ["--ca", join(dir(name), "ca.crt")];
const client = (name: string) => [
  ...["--cert", join(dir(name), "client.crt"), "--key", join(dir(name), "client.key")],
];

/** What `health` of a daemon says, without the note. */
async function ask(name: string, flags: readonly string[], host = "localhost") {
  const port = servers[name]?.port;
  const result = await cliHere(["health", "--remote", `${host}:${port}`, ...flags]);
  const said = result.stderr.replace(/^note: --remote is deprecated[^\n]*\n/, "");
  return { ...result, said };
}

const answers: readonly (readonly [
  what: string,
  daemon: string,
  flags: () => readonly string[],
])[] = [
  ["one whose authority is named", "ours", () => ca("ours")],
  ["one that asks for a certificate", "asking", () => [...ca("ours"), ...client("ours")]],
  ["one in plaintext, where that is wanted", "plain", () => ["--insecure"]],
];
test.each(answers)("%s answers", async (_, daemon, flags) => {
  expect(await ask(daemon, flags())).toMatchObject({ code: 0, said: "" });
  expect(await ask(daemon, flags(), "127.0.0.1")).toMatchObject({ code: 0, said: "" });
});

const refusals: readonly (readonly [
  what: string,
  daemon: string,
  flags: () => readonly string[],
  says: RegExp,
])[] = [
  [
    "plaintext is not chosen in silence",
    "plain",
    () => [],
    /it does not speak TLS; hint: .*--insecure/,
  ],
  ["an unknown authority", "ours", () => [], /authority that is not trusted here; hint: .*--ca/],
  ["another authority", "ours", () => ca("others"), /authority that is not trusted here/],
  ["no client's certificate", "asking", () => ca("ours"), /--cert .*--key/],
  [
    "a client's certificate of another authority",
    "asking",
    () => [...ca("ours"), ...client("others")],
    /hint: .*--cert and --key of its own authority/,
  ],
  ["an expired certificate", "expired", () => ca("expired"), /its certificate has expired; hint/],
  [
    "another host name",
    "named",
    () => ca("named"),
    /not for the host name "localhost"; hint: .*--hosts localhost/,
  ],
  ["TLS that is spoken to in plaintext", "ours", () => ["--insecure"], /it may speak TLS/],
];
test.each(refusals)("%s is told, with what to do", async (_, daemon, flags, says) => {
  const { code, stdout, said } = await ask(daemon, flags());
  expect({ code, stdout }).toEqual({ code: 6, stdout: "" });
  expect(said).toMatch(/^steep-repl: [^\n]+\n$/);
  expect(said).toMatch(says);
});

test("NODE_TLS_REJECT_UNAUTHORIZED does not switch the check off", async () => {
  vi.stubEnv("NODE_TLS_REJECT_UNAUTHORIZED", "0");
  try {
    expect(await ask("ours", ca("others"))).toMatchObject({ code: 6 });
  } finally {
    vi.stubEnv("NODE_TLS_REJECT_UNAUTHORIZED", undefined);
  }
});

test.each([
  [["--insecure", "--ca", "/x"], "--insecure speaks plaintext"],
  [["--cert", "/x"], "needs both --cert and --key"],
  [["--ca", "/no/such/file"], "cannot read /no/such/file"],
] as const)("%j is refused before anything is sent", async (flags, says) => {
  const { code, said } = await ask("ours", flags);
  expect(code).toBe(2);
  expect(said).toContain(says);
});

describe("the configuration file of a daemon on this machine", () => {
  const configure = (lines: readonly string[]) => {
    mkdirSync(join(home, ".config/steep"), { recursive: true });
    writeFileSync(
      join(home, ".config/steep/config.yaml"),
      ["repl:", "  grpc:", ...lines.map((line) => `    ${line}`), ""].join("\n"),
    );
  };
  afterAll(() => rmSync(join(home, ".config"), { recursive: true }));

  test("says that it speaks plaintext, and stderr does, too", async () => {
    configure([`port: ${servers.plain?.port}`]);
    const { code, said } = await ask("plain", []);
    expect(code).toBe(0);
    expect(said).toMatch(/^note: localhost:\d+ is spoken to in plaintext, as .*config.yaml has no/);
  });

  test("says nothing of another port", async () => {
    configure(["port: 1"]);
    expect(await ask("plain", [])).toMatchObject({ code: 6 });
  });

  test("has the certificates for it", async () => {
    const files = [
      `cert_file: ${dir("ours")}/server.crt`,
      `key_file: ${dir("ours")}/server.key`,
      `ca_file: ${dir("ours")}/ca.crt`,
      `client_cert_file: ${dir("ours")}/client.crt`,
      `client_key_file: ${dir("ours")}/client.key`,
    ];
    configure([`port: ${servers.asking?.port}`, "tls:", ...files.map((file) => `  ${file}`)]);
    const { code, said } = await ask("asking", []);
    expect(code).toBe(0);
    expect(said).toMatch(/^note: certificates are those of .*config.yaml\n$/);
  });

  test("that cannot be read is warned of, and counts for none", async () => {
    writeFileSync(join(home, ".config/steep/config.yaml"), "repl: [");
    const { code, said } = await ask("plain", []);
    expect(code).toBe(6);
    expect(said).toMatch(/^warning: no daemon is known from it: .*config.yaml is no YAML/);
  });
});
