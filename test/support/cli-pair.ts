import { afterAll, beforeAll, expect } from "vitest";
import { type CliOptions, type CliResult, cli } from "./cli.ts";
import { cliHere } from "./cli-here.ts";
import { type Server, startServer } from "./server.ts";

/** The next one is no double. */
const twoTo53 = "9007199254740992";

/** Two servers with a table that differs; the first has steep_repl and knows both as node-a and node-b. */
export interface CliPair {
  readonly a: Server;
  readonly b: Server;
  /** Run a command on the first server, and expect its exit code; with options as a program of its own. */
  on(code: number, args: readonly string[], options?: CliOptions): Promise<CliResult>;
  /** The same with --json; what it prints. */
  json<T>(code: number, args: readonly string[]): Promise<T>;
}

/** One line on stderr, as an error is told. */
export const oneLine = expect.stringMatching(/^steep-repl: [^\n]+\n$/);

export function setCliPair(name: string, use: (pair: CliPair) => void): void {
  const settings = { max_worker_processes: 16, "steep_repl.poll_interval": "1s" };
  const hba = ["host all steep_repl 127.0.0.1/32 scram-sha-256"];
  let servers: Server[] = [];
  beforeAll(async () => {
    servers = await Promise.all([
      startServer({ name, settings, hba }),
      startServer({ name: `${name}-b`, identity: "peer", settings }),
    ]);
    const [a, b] = servers as [Server, Server];
    await prepare(a, b);
    use(pairOf(a, b));
  });
  afterAll(async () => {
    for (const server of servers) await server.destroy();
  });
}

async function prepare(a: Server, b: Server): Promise<void> {
  await a.query("create extension steep_repl cascade");
  const orders = `create table public.orders (id bigint primary key, note text, "big ""n""" numeric)`;
  await b.query(orders);
  await b.query("insert into public.orders values (21, 'theirs', 1)");
  await a.query(`${orders};
    create table public."o'dd ""name""" (id int primary key);
    insert into public.orders select i, 'row ' || i, i from generate_series(1, 20) i;
    select setval(pg_get_serial_sequence('steep_repl.merge_conflicts', 'conflict_id'), ${twoTo53});
    select steep_repl.register_node('node-a', 'A', '127.0.0.1', ${a.port}, 50, 'postgres', 'postgres');
    select steep_repl.register_node('node-b', 'B', '127.0.0.1', ${b.port}, 50, 'postgres', 'postgres');
    select steep_repl.node_status(probe => true)`);
}

function pairOf(a: Server, b: Server): CliPair {
  const on: CliPair["on"] = async (code, args, options) => {
    const words = [...args, "-c", a.uri()];
    const result = await (options === undefined ? cliHere(words) : cli(words, options));
    expect(result, `steep-repl ${args.join(" ")}`).toMatchObject({ code });
    return result;
  };
  return {
    ...{ a, b, on },
    json: async (code, args) => JSON.parse((await on(code, [...args, "--json"])).stdout),
  };
}
