import { hostname } from "node:os";
import { type Command, InvalidArgumentError } from "commander";
import { exitCode } from "../cli-error.ts";
import { option } from "../command.ts";
import { splitNames } from "../split-names.ts";

interface InitOptions {
  readonly output: string;
  readonly name: string;
  readonly hosts?: readonly string[];
  readonly days: number;
}

/** Longer than PostgreSQL's own example has, and no client refuses it. */
const maxDays = 3650;

function days(text: string): number {
  const number = Number(text);
  if (!Number.isInteger(number) || number < 1 || number > maxDays)
    throw new InvalidArgumentError(`give a number of days, ${maxDays} at most.`);
  return number;
}

async function init({ output, name, hosts = [], days }: InitOptions): Promise<void> {
  const { certificateFiles, makeCertificates } = await import("../daemon/certificates.ts");
  const all = [...new Set([...hosts, "localhost", "127.0.0.1", "::1"])];
  for (const path of await makeCertificates(output, name, all, days))
    process.stdout.write(`${path}\n`);
  const { ca, server, serverKey, client, clientKey } = certificateFiles;
  process.stderr.write(
    `The daemon's configuration names ${server} (cert_file) and ${serverKey} (key_file); with ${ca} (ca_file) it asks clients for a certificate.\n` +
      `Clients take --ca ${ca} --cert ${client} --key ${clientKey}. Keep ca.key elsewhere: who has it can make certificates.\n`,
  );
  process.exitCode = exitCode.success;
}

export function addTls(root: Command): void {
  const tls = root.command("tls").description("certificates for the daemon");
  tls
    .command("init")
    .description("make a certificate authority, and certificates for a daemon and its clients")
    .addOption(
      option("-o, --output <directory>", "where the files go").default("./steep-certificates"),
    )
    .addOption(option("-n, --name <name>", "the daemon's name").default(hostname()))
    .addOption(
      option(
        "--hosts <names>",
        "names and addresses by which clients reach it, with commas",
      ).argParser(splitNames),
    )
    .addOption(option("--days <number>", "how long they are valid").default(365).argParser(days))
    .addHelpText(
      "after",
      "\nExamples:\n  $ steep-repl tls init -o /etc/steep/tls -n node-a --hosts node-a.example,10.0.0.1",
    )
    .action((options: InitOptions) => init(options));
}
