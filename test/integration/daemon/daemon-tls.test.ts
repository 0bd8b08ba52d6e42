import { readFileSync } from "node:fs";
import { connect } from "node:net";
import { join } from "node:path";
import { connect as connectTls } from "node:tls";
import { type ChannelCredentials, credentials, status } from "@grpc/grpc-js";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { makeCertificates } from "../../../cli/daemon/certificates.ts";
import { cli } from "../../support/cli.ts";
import { startDaemon, type TestDaemon } from "../../support/grpc/daemon.ts";
import { WireClient } from "../../support/grpc/peer.ts";
import { type Server, startServer } from "../../support/server.ts";

/* Who can speak to the daemon, by its certificates and those of clients. */

let server: Server;
const dir = (name: string) => join(server.home, name);
const file = (name: string, part: string) => readFileSync(join(dir(name), part));

beforeAll(async () => {
  server = await startServer({ name: "daemon-tls" });
  await server.query("create extension steep_repl cascade");
  await cli(["tls", "init", "-o", dir("ours"), "-n", "daemon", "--hosts", "daemon.example"]);
  await makeCertificates(dir("others"), "somebody else", ["localhost", "127.0.0.1"], 1);
  await makeCertificates(dir("expired"), "daemon", ["localhost", "127.0.0.1"], -1);
});
afterAll(() => server.destroy());

/** The answer of HealthCheck, or the status that the call ended with. */
async function ask(daemon: TestDaemon, channel: ChannelCredentials) {
  const client = new WireClient("Coordinator", `localhost:${daemon.port}`, channel);
  try {
    return (await client.call("HealthCheck", {}, 5000)).status;
  } catch (error) {
    return (error as { code: number }).code;
  } finally {
    client.close();
  }
}

const tlsOf = (name: string, withCa: boolean) => ({
  cert_file: join(dir(name), "server.crt"),
  key_file: join(dir(name), "server.key"),
  ...(withCa ? { ca_file: join(dir(name), "ca.crt") } : {}),
});

describe("a daemon with a certificate", () => {
  let daemon: TestDaemon;
  beforeAll(async () => {
    daemon = await startDaemon(server, { tls: tlsOf("ours", false) });
  });
  afterAll(() => daemon.stop());

  test("answers those who trust its authority", async () => {
    expect(await ask(daemon, credentials.createSsl(file("ours", "ca.crt")))).toBe("SERVING");
  });

  test("not those who trust another one, or speak plaintext", async () => {
    expect(await ask(daemon, credentials.createSsl(file("others", "ca.crt")))).toBe(
      status.UNAVAILABLE,
    );
    expect(await ask(daemon, credentials.createInsecure())).not.toBe("SERVING");
  });

  test("speaks TLS 1.3 only", async () => {
    const tls = connectTls({
      ...{ port: daemon.port, host: "localhost", maxVersion: "TLSv1.2" as const },
      ca: file("ours", "ca.crt"),
      ALPNProtocols: ["h2"],
    });
    expect(
      await new Promise((resolve) => {
        tls.once("error", (error: { code?: string }) => resolve(error.code));
        tls.once("secureConnect", () => resolve(tls.getProtocol()));
      }),
    ).toMatch(/^ERR_SSL/);
  });
});

describe("a daemon that asks for certificates", () => {
  let daemon: TestDaemon;
  beforeAll(async () => {
    daemon = await startDaemon(server, { tls: tlsOf("ours", true) });
  });
  afterAll(() => daemon.stop());

  const withClient = (name: string, ca = "ours") =>
    credentials.createSsl(file(ca, "ca.crt"), file(name, "client.key"), file(name, "client.crt"));

  test("answers those who have one of its authority", async () => {
    expect(await ask(daemon, withClient("ours"))).toBe("SERVING");
  });

  test.each(["others", "expired"])("not those who have one of %s", async (name) => {
    expect(await ask(daemon, withClient(name))).not.toBe("SERVING");
  });

  test("not those who have none", async () => {
    expect(await ask(daemon, credentials.createSsl(file("ours", "ca.crt")))).not.toBe("SERVING");
  });
});

test("a daemon whose certificate has expired is not trusted", async () => {
  const daemon = await startDaemon(server, { tls: tlsOf("expired", false) });
  expect(await ask(daemon, credentials.createSsl(file("expired", "ca.crt")))).toBe(
    status.UNAVAILABLE,
  );
  await daemon.stop();
});

test("without certificates only this machine is answered, and that is said", async () => {
  const daemon = await startDaemon(server);
  expect(daemon.cli.printed).toContain("only this machine can connect");
  expect(await ask(daemon, credentials.createInsecure())).toBe("SERVING");
  const address = await new Promise<string | undefined>((resolve) => {
    const socket = connect(daemon.port, "127.0.0.1", () => {
      resolve(socket.remoteAddress);
      socket.destroy();
    });
  });
  expect(address).toBe("127.0.0.1");
  await daemon.stop();
  const open = await startDaemon(server, { args: ["--insecure"] });
  expect(open.cli.printed).toContain("warning: anybody who reaches this port");
  await open.stop();
});

test.each([
  ["a key without a certificate", { key_file: "/none.key" }, /needs both cert_file and key_file/],
  [
    "files that are not there",
    { cert_file: "/none.crt", key_file: "/none.key" },
    /cannot read \/none.crt/,
  ],
])("%s stop it, with a sentence", async (_, tls, says) => {
  await expect(startDaemon(server, { tls })).rejects.toThrow(says);
});
