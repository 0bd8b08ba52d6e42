import "reflect-metadata";
import { webcrypto } from "node:crypto";
import { existsSync } from "node:fs";
import { mkdir, writeFile } from "node:fs/promises";
import { isIP } from "node:net";
import { join } from "node:path";
import * as x509 from "@peculiar/x509";
import { CliError, exitCode } from "../cli-error.ts";

const algorithm = { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" } as const;
/** Clocks may be apart, and a certificate is used as soon as it is there. */
const backdatedMs = 60 * 60 * 1000;

interface Signed {
  readonly certificate: x509.X509Certificate;
  readonly keys: CryptoKeyPair;
}

interface Request {
  readonly name: string;
  readonly days: number;
  /** without: it signs itself, and may sign others */
  readonly issuer?: Signed;
  readonly usage?: x509.ExtendedKeyUsage;
  readonly hosts?: readonly string[];
}

type CryptoKeyPair = webcrypto.CryptoKeyPair;

async function certify({ name, days, issuer, usage, hosts = [] }: Request): Promise<Signed> {
  const keys = (await webcrypto.subtle.generateKey(algorithm, true, [
    "sign",
    "verify",
  ])) as CryptoKeyPair;
  const now = Date.now();
  const isAuthority = issuer === undefined;
  const certificate = await x509.X509CertificateGenerator.create({
    serialNumber: Buffer.from(webcrypto.getRandomValues(new Uint8Array(16))).toString("hex"),
    subject: [{ CN: [name] }],
    issuer: issuer ? issuer.certificate.subject : [{ CN: [name] }],
    notBefore: new Date(now - backdatedMs),
    notAfter: new Date(now + days * 24 * 60 * 60 * 1000),
    signingAlgorithm: algorithm,
    publicKey: keys.publicKey,
    signingKey: (issuer ?? { keys }).keys.privateKey,
    extensions: [
      new x509.BasicConstraintsExtension(isAuthority, isAuthority ? 0 : undefined, true),
      new x509.KeyUsagesExtension(
        isAuthority
          ? x509.KeyUsageFlags.keyCertSign | x509.KeyUsageFlags.cRLSign
          : x509.KeyUsageFlags.digitalSignature,
        true,
      ),
      await x509.SubjectKeyIdentifierExtension.create(keys.publicKey),
      await x509.AuthorityKeyIdentifierExtension.create((issuer ?? { keys }).keys.publicKey),
      ...(usage === undefined ? [] : [new x509.ExtendedKeyUsageExtension([usage])]),
      ...(hosts.length === 0
        ? []
        : [
            new x509.SubjectAlternativeNameExtension(
              hosts.map((host) => ({ type: isIP(host) ? "ip" : "dns", value: host }) as const),
            ),
          ]),
    ],
  });
  return { certificate, keys };
}

async function pemOfKey({ privateKey }: CryptoKeyPair): Promise<string> {
  return x509.PemConverter.encode(
    await webcrypto.subtle.exportKey("pkcs8", privateKey),
    "PRIVATE KEY",
  );
}

/** What `tls init` writes to a directory: each file by its name in the configuration of the daemon and of clients. */
export const certificateFiles = {
  ca: "ca.crt",
  caKey: "ca.key",
  server: "server.crt",
  serverKey: "server.key",
  client: "client.crt",
  clientKey: "client.key",
} as const;

/**
 * Make an authority, and a certificate each for the daemon and for clients; the files are readable by their owner only.
 *
 * @param hosts names and addresses by which clients reach the daemon
 * @throws CliError if one of the files is there already
 */
export async function makeCertificates(
  directory: string,
  name: string,
  hosts: readonly string[],
  days: number,
): Promise<readonly string[]> {
  x509.cryptoProvider.set(webcrypto as Crypto);
  const existing = Object.values(certificateFiles).find((file) =>
    existsSync(join(directory, file)),
  );
  if (existing !== undefined)
    throw new CliError(
      exitCode.failed,
      `${join(directory, existing)} is there already`,
      "remove it, or choose another --output",
    );
  const ca = await certify({ name: `${name} CA`, days });
  const { serverAuth, clientAuth } = x509.ExtendedKeyUsage;
  const server = await certify({ name, days, issuer: ca, usage: serverAuth, hosts });
  const client = await certify({ name: `${name} client`, days, issuer: ca, usage: clientAuth });
  const contents = {
    ca: ca.certificate.toString("pem"),
    caKey: await pemOfKey(ca.keys),
    server: server.certificate.toString("pem"),
    serverKey: await pemOfKey(server.keys),
    client: client.certificate.toString("pem"),
    clientKey: await pemOfKey(client.keys),
  };
  await mkdir(directory, { recursive: true, mode: 0o700 });
  const paths: string[] = [];
  for (const [key, file] of Object.entries(certificateFiles)) {
    const path = join(directory, file);
    await writeFile(path, `${contents[key as keyof typeof contents]}\n`, {
      mode: 0o600,
      flag: "wx",
    });
    paths.push(path);
  }
  return paths;
}
