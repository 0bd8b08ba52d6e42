import { CliError, exitCode, usageError } from "../cli-error.ts";
import { confirm } from "../confirm.ts";
import { connect, passwordFor } from "../connection/connect.ts";
import { resolveTarget, type Target } from "../connection/resolve.ts";
import type { CommonOptions, Invocation } from "../invocation.ts";
import { type Address, addressesOf } from "./pair-address.ts";
import { leadsTo, nodeThatLeadsTo, ownName, type Side, sideOf, wayTo } from "./pair-link-facts.ts";
import { isComplete, type Missing, makeMissing, statementsOf } from "./pair-link-write.ts";
import { isConninfo } from "./peer.ts";

/** With two connection strings, what the nodes lack to reach each other is made. */
export interface LinkOptions {
  readonly peer?: string;
  readonly localName?: string;
  readonly localAddress?: string;
  readonly peerAddress?: string;
  readonly yes?: boolean;
}

/** Have each node reach the other. False where that is only planned, and something is missing. */
export async function linkNodes(
  invocation: Invocation,
  options: LinkOptions & CommonOptions,
  node: string,
  purpose: "check" | "start" | "plan",
): Promise<boolean> {
  if (!hasPeer(options)) return true;
  const env = invocation.environment;
  const sides: Side[] = [];
  const open = async (target: Target, place: string) => {
    const side = await sideOf(await connect(target, env), target, place);
    sides.push(side);
    return side;
  };
  try {
    const here = await open(resolveTarget(invocation.options.connection, env), "here");
    const there = await open(resolveTarget(options.peer, env), "at the peer");
    const missing = (await missingOf(invocation, here, there, options, node)).filter(
      (one) => !isComplete(one),
    );
    if (missing.length === 0) return true;
    show(invocation, missing, purpose === "plan");
    if (purpose === "plan") {
      invocation.output.message("the steps of the pair can be planned once that is there");
      return false;
    }
    await confirm(options.yes, "Create this");
    for (const one of missing) await make(invocation, one);
    return true;
  } finally {
    await Promise.all(sides.map(({ client }) => client.end().catch(() => {})));
  }
}

function hasPeer(options: LinkOptions): options is LinkOptions & { readonly peer: string } {
  const { peer, localName, localAddress, peerAddress } = options;
  if (peer === undefined) {
    const given = Object.entries({
      ...{ "--local-name": localName, "--local-address": localAddress },
      "--peer-address": peerAddress,
    }).find(([, value]) => value !== undefined);
    if (given === undefined) return false;
    throw usageError(`${given[0]} is for --peer`, "give the peer's connection string with --peer");
  }
  if (isConninfo(peer)) return true;
  throw usageError(
    "--peer must be a connection string",
    "the peer's name is the argument: steep-repl pair start NODE --peer CONNINFO",
  );
}

async function missingOf(
  invocation: Invocation,
  here: Side,
  there: Side,
  options: LinkOptions,
  node: string,
): Promise<readonly Missing[]> {
  if (here.systemIdentifier === there.systemIdentifier && here.databaseOid === there.databaseOid) {
    throw usageError(
      "both connection strings lead to the same database",
      "-c names this side, and --peer the other",
    );
  }
  const localName = options.localName ?? (await localNameOf(here, there));
  if (localName === node) {
    throw usageError(`both nodes would be called "${node}"`, "give --local-name NAME");
  }
  const addresses = () => addressesOf(here, there, options);
  return [
    await missingWay(invocation, here, there, node, () => addresses().peer),
    await missingWay(invocation, there, here, localName, () => addresses().local),
  ];
}

/** As the peer knows this database, as it is called in itself, or by its host. */
async function localNameOf(here: Side, there: Side): Promise<string> {
  const known = (await nodeThatLeadsTo(there, here)) ?? (await ownName(here));
  if (known !== undefined) return known;
  const { host, isSocket, port } = here.candidate;
  const isName = !isSocket && host !== "localhost" && /^[a-z][a-z0-9-]*(\.|$)/i.test(host);
  return isName ? (host.split(".")[0] ?? host) : `${here.database}-${port}`;
}

/** What a side lacks of the way to the other, which it is to call so. */
async function missingWay(
  invocation: Invocation,
  from: Side,
  to: Side,
  node: string,
  addressOf: () => Address,
): Promise<Missing> {
  const { node: known, options, hasMapping } = await wayTo(from, node);
  const found = known?.systemIdentifier;
  const leadsElsewhere =
    (found && found !== to.systemIdentifier) ||
    (known?.foreignServer && hasMapping && (await leadsTo(from, node, to)) === false);
  if (leadsElsewhere) {
    throw usageError(
      `node "${node}" ${from.place} is another database than ${to.place === "here" ? "this one" : "the one of --peer"}`,
      "give the name that it has there, or remove the node with steep-repl node remove",
    );
  }
  const server = known?.foreignServer ?? node;
  const isNew = known?.foreignServer == null;
  const wanted = isNew || options === null ? serverOptions(invocation, to, addressOf()) : null;
  if (isNew && options !== null && wanted !== null)
    refuseOtherServer(from, server, options, wanted);
  return {
    ...{ side: from, node, server, extension: !from.hasExtension },
    options: options === null ? wanted : null,
    mapping: hasMapping ? null : mappingOf(invocation, to),
    registration: known === null ? "new" : isNew ? "changed" : null,
  };
}

function serverOptions(invocation: Invocation, to: Side, { host, port }: Address) {
  const { settings } = to.target;
  const files = (["sslrootcert", "sslcert", "sslkey", "sslcrl"] as const).filter(
    (name) => settings[name],
  );
  if (files.length > 0) {
    invocation.output.message(
      `warning: ${files.join(", ")} of the connection string are files of this machine, and no option of the foreign server; add those of the server with ALTER SERVER`,
    );
  }
  return {
    ...{ host, port: `${port}`, dbname: to.database },
    ...(settings.sslmode ? { sslmode: settings.sslmode } : {}),
  };
}

function refuseOtherServer(
  { place }: Side,
  server: string,
  options: Readonly<Record<string, string>>,
  wanted: Readonly<Record<string, string>>,
): void {
  const other = (["host", "port", "dbname"] as const).find(
    (name) => options[name] !== undefined && options[name] !== wanted[name],
  );
  if (other === undefined) return;
  throw new CliError(
    exitCode.failed,
    `foreign server "${server}" exists ${place}, and its ${other} is ${options[other]} and not ${wanted[other]}`,
    "drop it, give --local-address or --peer-address, or call the node otherwise",
  );
}

function mappingOf({ environment }: Invocation, { target, candidate }: Side) {
  return { user: target.user, password: passwordFor(target, candidate, environment) };
}

function show({ output }: Invocation, missing: readonly Missing[], isResult: boolean): void {
  const say = (text: string) => (isResult ? output.line(text) : output.message(text));
  for (const one of missing) {
    const { place, candidate, database } = one.side;
    say(`-- missing ${place} (${candidate.host}, database ${database}):`);
    for (const sql of statementsOf(one)) say(`${sql};`);
  }
  if (missing.some(({ mapping }) => mapping?.password !== undefined)) {
    output.message(
      "a user mapping keeps the password in its database: superusers there, and the owner of the mapping, can read it",
    );
  }
}

async function make({ output }: Invocation, missing: Missing): Promise<void> {
  try {
    await makeMissing(missing);
  } catch (error) {
    output.message(`nothing was created ${missing.side.place}`);
    throw error;
  }
  output.message(`created ${missing.side.place}`);
}
