import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { connect } from "../../../cli/connection/connect.ts";
import { resolveTarget } from "../../../cli/connection/resolve.ts";
import { giveToServer } from "../../support/data-directory.ts";
import { bin, run } from "../../support/pg.ts";
import { type Server, startServer } from "../../support/server.ts";

// psql, and with it the real libpq, is the judge: both get the same string and environment.

const query = `select current_user, current_database(), s.ssl,
  current_setting('application_name'), current_setting('work_mem')
  from pg_stat_ssl s where s.pid = pg_backend_pid()`;

let server: Server;
let home: string;
let port: string;

beforeAll(async () => {
  home = mkdtempSync(join(tmpdir(), "steep-cli-"));
  server = await startServer({
    name: "cli-connect",
    hba: [
      "host all secret 127.0.0.1/32 scram-sha-256",
      "host all clear 127.0.0.1/32 password",
      "host all hashed 127.0.0.1/32 md5",
      "local all secret scram-sha-256",
      "hostssl all tls_only 127.0.0.1/32 trust",
      "hostnossl all tls_only 127.0.0.1/32 reject",
      "hostnossl all plain_only 127.0.0.1/32 trust",
      "hostssl all plain_only 127.0.0.1/32 reject",
      "hostssl all certified 127.0.0.1/32 cert",
    ],
  });
  port = `${server.port}`;
  await makeCertificates();
  await server.configure({
    ssl: "on",
    ssl_cert_file: join(server.home, "server.crt"),
    ssl_key_file: join(server.home, "server.key"),
    ssl_ca_file: join(server.home, "server.crt"),
    password_encryption: "md5",
  });
  await server.query(`
    create role hashed login password 'hush'; set password_encryption = 'scram-sha-256';
    create role secret login password 'it''s \\ hush: so'; create role clear login password 'hush';
    create role tls_only login; create role plain_only login; create role certified login`);
  await server.query('create database "my db"');
});
afterAll(async () => {
  await server.destroy();
  rmSync(home, { recursive: true });
});

async function openssl(...args: string[]): Promise<void> {
  await run("openssl", args);
}

/** The server's is for the name localhost; it is the root of the client's, too. */
async function makeCertificates(): Promise<void> {
  const [key, crt] = [join(server.home, "server.key"), join(server.home, "server.crt")];
  const selfSigned = ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"];
  const name = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"];
  await openssl(...selfSigned, ...name, "-keyout", key, "-out", crt);
  const other = ["-subj", "/CN=other", "-keyout", "/dev/null", "-out", join(home, "other.crt")];
  await openssl(...selfSigned, ...other);
  const clientKey = join(home, "client.key");
  const request = ["req", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=certified"];
  await openssl(...request, "-keyout", clientKey, "-out", join(home, "client.csr"));
  const sign = ["x509", "-req", "-days", "2", "-in", join(home, "client.csr"), "-CA", crt];
  await openssl(...sign, "-CAkey", key, "-CAcreateserial", "-out", join(home, "client.crt"));
  await run("cp", [crt, join(home, "root.crt")]);
  await giveToServer(key, crt);
}

type Variables = Readonly<Record<string, string | undefined>>;

async function ours(text: string | undefined, variables: Variables): Promise<string> {
  const env = { variables, home: variables.HOME ?? home, user: "nobody_here", warn: () => {} };
  const { client } = await connect(resolveTarget(text, env), env);
  try {
    const { rows } = await client.query({ text: query, rowMode: "array" });
    return (rows[0] as string[]).join("|").replace("|steep-repl|", "|psql|");
  } finally {
    await client.end();
  }
}

async function psql(text: string | undefined, variables: Variables): Promise<string> {
  const clean = Object.keys(process.env).filter((name) => name.startsWith("PG"));
  const env = {
    ...Object.fromEntries(clean.map((name) => [name, undefined])),
    HOME: home,
    ...variables,
  };
  const target = text === undefined ? [] : ["-d", text];
  const result = await run(bin("psql"), ["-XAtqw", ...target, "-c", query], {
    env,
    allowFailure: true,
  });
  if (result.code !== 0) throw new Error(result.stderr);
  return result.stdout.trim();
}

/** What both say; "refused" where they refuse. */
async function both(text: string | undefined, variables: Variables = {}) {
  const [us, libpq] = await Promise.allSettled([ours(text, variables), psql(text, variables)]);
  const answer = (r: PromiseSettledResult<string>) =>
    r.status === "fulfilled" ? r.value : "refused";
  return {
    us: answer(us),
    libpq: answer(libpq),
    why: us.status === "rejected" ? us.reason : undefined,
  };
}

const local = () => `host=127.0.0.1 port=${port}`;

describe("the same as libpq", () => {
  const cases: readonly [string, () => string | undefined, () => Variables, string][] = [
    ["keywords", () => `${local()} user=postgres dbname='my db'`, () => ({}), "postgres|my db|t"],
    [
      "a URI",
      () => `postgresql://postgres@127.0.0.1:${port}/my%20db?sslmode=disable`,
      () => ({}),
      "|my db|f",
    ],
    [
      "a socket",
      () => `postgresql:///postgres?user=postgres&host=${server.socketDir}&port=${port}`,
      () => ({}),
      "|f|",
    ],
    [
      "a socket ignores sslmode",
      () => `host=${server.socketDir} port=${port} user=postgres sslmode=require`,
      () => ({}),
      "|f|",
    ],
    [
      "PG* alone",
      () => undefined,
      () => ({
        PGHOST: "127.0.0.1",
        PGPORT: port,
        PGUSER: "postgres",
        PGDATABASE: "my db",
        PGAPPNAME: "x",
        PGOPTIONS: "-c work_mem=5MB",
        PGSSLMODE: "disable",
      }),
      "my db|f|x|5MB",
    ],
    [
      "PGHOSTADDR",
      () => "",
      () => ({
        PGHOST: "nowhere.invalid",
        PGHOSTADDR: "127.0.0.1",
        PGPORT: port,
        PGUSER: "postgres",
      }),
      "postgres|postgres|t",
    ],
    ["options", () => `${local()} user=postgres options='-c work_mem=6MB'`, () => ({}), "6MB"],
    [
      "a password with quotes",
      () => String.raw`${local()} user=secret dbname=postgres password='it\'s \\ hush: so'`,
      () => ({}),
      "secret|postgres|t",
    ],
    [
      "a password of a URI",
      () => `postgresql://secret:it's%20%5C%20hush:%20so@127.0.0.1:${port}/postgres`,
      () => ({}),
      "secret|postgres",
    ],
    [
      "PGPASSWORD in clear",
      () => `${local()} user=clear dbname=postgres`,
      () => ({ PGPASSWORD: "hush" }),
      "clear|",
    ],
    [
      "PGPASSWORD by md5",
      () => `${local()} user=hashed dbname=postgres`,
      () => ({ PGPASSWORD: "hush" }),
      "hashed|",
    ],
    [
      "a wrong password",
      () => `${local()} user=secret dbname=postgres password=no`,
      () => ({}),
      "refused",
    ],
    ["no password", () => `${local()} user=secret dbname=postgres`, () => ({}), "refused"],
    [
      "several hosts",
      () => `host=127.0.0.1,127.0.0.1 port=1,${port} user=postgres`,
      () => ({}),
      "postgres|",
    ],
    [
      "read-write is wanted",
      () => `host=127.0.0.1,127.0.0.1 port=1,${port} user=postgres target_session_attrs=read-write`,
      () => ({}),
      "postgres|",
    ],
    [
      "a standby is wanted",
      () => `${local()} user=postgres target_session_attrs=standby`,
      () => ({}),
      "refused",
    ],
    [
      "a standby is preferred",
      () => `${local()} user=postgres target_session_attrs=prefer-standby`,
      () => ({}),
      "postgres|",
    ],
    [
      "disable",
      () => `${local()} user=tls_only dbname=postgres sslmode=disable`,
      () => ({}),
      "refused",
    ],
    [
      "allow falls back to SSL",
      () => `${local()} user=tls_only dbname=postgres sslmode=allow`,
      () => ({}),
      "|t|",
    ],
    ["allow is plain at first", () => `${local()} user=postgres sslmode=allow`, () => ({}), "|f|"],
    ["prefer is SSL at first", () => `${local()} user=postgres sslmode=prefer`, () => ({}), "|t|"],
    [
      "prefer falls back to plain",
      () => `${local()} user=plain_only dbname=postgres`,
      () => ({}),
      "|f|",
    ],
    [
      "require does not fall back",
      () => `${local()} user=plain_only dbname=postgres sslmode=require`,
      () => ({}),
      "refused",
    ],
    [
      "require verifies nothing",
      () => `${local()} user=postgres sslmode=require`,
      () => ({}),
      "|t|",
    ],
    [
      "require with a root verifies",
      () => `${local()} user=postgres sslmode=require sslrootcert=${join(home, "other.crt")}`,
      () => ({}),
      "refused",
    ],
    [
      "verify-ca without a root",
      () => `${local()} user=postgres sslmode=verify-ca`,
      () => ({}),
      "refused",
    ],
    [
      "verify-ca with the root",
      () => `${local()} user=postgres sslmode=verify-ca`,
      () => ({ PGSSLROOTCERT: join(home, "root.crt") }),
      "|t|",
    ],
    [
      "verify-ca with another root",
      () => `${local()} user=postgres sslmode=verify-ca sslrootcert=${join(home, "other.crt")}`,
      () => ({}),
      "refused",
    ],
    [
      "verify-full by name",
      () =>
        `host=localhost hostaddr=127.0.0.1 port=${port} user=postgres sslmode=verify-full sslrootcert=${join(home, "root.crt")}`,
      () => ({}),
      "|t|",
    ],
    [
      "verify-full by another name",
      () => `${local()} user=postgres sslmode=verify-full sslrootcert=${join(home, "root.crt")}`,
      () => ({}),
      "refused",
    ],
    [
      "system roots do not know it",
      () => `${local()} user=postgres sslrootcert=system`,
      () => ({}),
      "refused",
    ],
    [
      "direct negotiation",
      () => `${local()} user=postgres sslmode=require sslnegotiation=direct`,
      () => ({}),
      "|t|",
    ],
    [
      "a client certificate",
      () =>
        `${local()} user=certified dbname=postgres sslcert=${join(home, "client.crt")} sslkey=${join(home, "client.key")}`,
      () => ({}),
      "certified|",
    ],
    [
      "no client certificate",
      () => `${local()} user=certified dbname=postgres sslmode=require`,
      () => ({}),
      "refused",
    ],
    ["an unknown keyword", () => `${local()} usr=postgres`, () => ({}), "refused"],
    ["a missing database", () => `${local()} user=postgres dbname=nope`, () => ({}), "refused"],
  ];

  test.each(cases)("%s", async (_, text, variables, expected) => {
    const { us, libpq } = await both(text(), variables());
    expect(us).toBe(libpq);
    expect(us).toContain(expected);
  });

  test(".pgpass, by name, in PGPASSFILE, and localhost for no socket of another directory", async () => {
    const file = join(home, "passwords");
    const password = String.raw`it's \\ hush\: so`;
    writeFileSync(file, `127.0.0.1:${port}:*:secret:${password}\n`, { mode: 0o600 });
    const text = `${local()} user=secret dbname=postgres`;
    expect(await both(text, { PGPASSFILE: file })).toMatchObject({
      libpq: expect.stringContaining("secret|"),
      us: expect.stringContaining("secret|"),
    });
    expect(await both(`${text} passfile=${file}`)).toMatchObject({
      us: expect.stringContaining("secret|"),
    });
    const socket = `host=${server.socketDir} port=${port} user=secret dbname=postgres passfile=${file}`;
    expect(await both(socket)).toMatchObject({ us: "refused", libpq: "refused" });
    writeFileSync(file, `${server.socketDir}:*:*:secret:${password}\n`);
    expect(await both(socket)).toMatchObject({
      us: expect.stringContaining("secret|"),
      libpq: expect.stringContaining("secret|"),
    });
  });

  test("~/.pgpass, ~/.pg_service.conf and ~/.postgresql/root.crt", async () => {
    const other = mkdtempSync(join(home, "home-"));
    writeFileSync(join(other, ".pgpass"), "*:*:*:hashed:hush\n", { mode: 0o600 });
    writeFileSync(
      join(other, ".pg_service.conf"),
      `[mine]\nhost=127.0.0.1\nport=${port}\nuser=hashed\ndbname=postgres\nsslmode=verify-ca\n`,
    );
    mkdirSync(join(other, ".postgresql"));
    await run("cp", [join(home, "root.crt"), join(other, ".postgresql/root.crt")]);
    for (const variables of [{ HOME: other, PGSERVICE: "mine" }, { HOME: other }]) {
      const { us, libpq } = await both("PGSERVICE" in variables ? "" : "service=mine", variables);
      expect(us).toBe(libpq);
      expect(us).toContain("hashed|postgres|t");
    }
  });
});

test.each([
  ["host=127.0.0.1 port=1 user=x", "connection refused", "listen_addresses"],
  ["host=/nonexistent user=x", "no such socket", "PGHOST"],
  ["host=nowhere.invalid user=x", "could not translate the host name", "check the host's name"],
])("%s says why it fails and what to do", async (text, message, hint) => {
  const { why } = await both(text);
  expect(why).toMatchObject({
    code: 6,
    message: expect.stringContaining(message),
    hint: expect.stringContaining(hint),
  });
});

test("a refused user is told by SQLSTATE, and no password is shown", async () => {
  const attempts = [
    [
      "user=secret password=topsecret",
      'password authentication failed for user "secret"',
      "PGPASSWORD",
    ],
    ["user=secret", 'no password supplied for user "secret"', ".pgpass"],
    ["user=nope", 'role "nope" does not exist', "another role"],
    ["user=tls_only sslmode=disable", "pg_hba.conf", "pg_hba.conf"],
    ["user=postgres dbname=nope", 'database "nope" does not exist', "PGDATABASE"],
    ["user=postgres sslmode=verify-ca sslrootcert=/nope", "does not exist", "sslmode"],
  ] as const;
  for (const [text, message, hint] of attempts) {
    const { why } = await both(`${local()} dbname=postgres ${text}`);
    expect(why).toMatchObject({
      code: 6,
      message: expect.stringContaining(message),
      hint: expect.stringContaining(hint),
    });
    expect(`${why.message} ${why.hint}`).not.toContain("topsecret");
  }
});
