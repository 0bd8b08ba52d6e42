import { readdir, readlink } from "node:fs/promises";
import pg from "pg";
import type { ConnectOptions, Row } from "./node.ts";

export interface Endpoint {
  readonly host: string;
  readonly port: number;
  /** For those who give no other. */
  readonly password?: string;
}

/** The clients of one node, so that none survives it. */
export class Sessions {
  readonly #endpoint: Endpoint;
  readonly #open = new Set<pg.Client>();

  constructor(endpoint: Endpoint) {
    this.#endpoint = endpoint;
  }

  async connect(options: ConnectOptions = {}): Promise<pg.Client> {
    const client = new pg.Client({
      ...this.#endpoint,
      database: options.database ?? "postgres",
      user: options.user ?? "postgres",
      ...(options.password === undefined ? {} : { password: options.password }),
      application_name: options.applicationName ?? "steep test",
    });
    // Without a listener a killed server would end the test run; queries in flight reject anyway.
    client.on("error", () => {});
    client.once("end", () => this.#open.delete(client));
    await client.connect();
    this.#open.add(client);
    return client;
  }

  /** One statement in a session of its own. */
  async query<R extends Row>(
    sql: string,
    params: readonly unknown[],
    options: ConnectOptions,
  ): Promise<R[]> {
    const client = await this.connect(options);
    try {
      return (await client.query<R>(sql, [...params])).rows;
    } finally {
      await client.end();
    }
  }

  async endAll(): Promise<void> {
    const clients = [...this.#open];
    this.#open.clear();
    await Promise.allSettled(clients.map((client) => client.end()));
  }
}

/** How many connections to other servers a session has open. */
export async function openConnections(session: pg.Client): Promise<number> {
  const { rows } = await session.query<{ pid: number }>("select pg_backend_pid() as pid");
  const directory = `/proc/${rows[0]?.pid}/fd`;
  const targets = await Promise.all(
    (await readdir(directory)).map((fd) => readlink(`${directory}/${fd}`).catch(() => "")),
  );
  // one is the session's own
  return targets.filter((target) => target.startsWith("socket:")).length - 1;
}
