import type { Client } from "pg";
import type { LedgerTable } from "./ledger-tables.ts";
import type { Random } from "./random.ts";
import type { Server } from "./server.ts";
import { waitUntil } from "./wait-until.ts";

/** A user of one side, who writes down what he has written, in the same transaction. */
export class LedgerWriter {
  readonly #server: Server;
  readonly #tables: readonly LedgerTable[];
  readonly #random: Random;
  readonly #isPeer: boolean;
  readonly #rows: number;
  readonly #replicates: boolean;
  #count = 0;
  #stopped = false;
  #done: Promise<void> | undefined;

  constructor(
    server: Server,
    isPeer: boolean,
    tables: readonly LedgerTable[],
    random: Random,
    rows: number,
    replicates: boolean,
  ) {
    this.#server = server;
    this.#isPeer = isPeer;
    this.#tables = tables;
    this.#random = random;
    this.#rows = rows;
    this.#replicates = replicates;
  }

  start(): void {
    this.#stopped = false;
    this.#done = this.#run();
    // it is awaited when it is stopped
    this.#done.catch(() => undefined);
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    await this.#done;
  }

  /** Write so many times. */
  async write(times: number): Promise<void> {
    const session = await this.#connect();
    for (let n = 0; n < times; n++) await this.#once(session);
    await session.end();
  }

  async #connect(): Promise<Client> {
    const session = await this.#server.connect();
    await session.query("set lock_timeout = '300ms'; set deadlock_timeout = '50ms'");
    return session;
  }

  async #run(): Promise<void> {
    let session = await this.#connect();
    while (!this.#stopped) {
      try {
        await this.#once(session);
      } catch (error) {
        // a session that a crash has ended; whether its last transaction was committed, the tables say
        const { code } = error as { code?: string };
        if (code !== undefined && !/^(57P|08|ECONN|EPIPE)/.test(code)) throw error;
        session = (await waitUntil(
          () => this.#connect().catch(() => undefined),
          (client) => client !== undefined,
          "the server is there again",
        )) as Client;
      }
    }
    await session.end();
  }

  async #once(session: Client): Promise<void> {
    const random = this.#random;
    const { name, kind } = random.pick(this.#tables);
    // the others are the merge's alone, and some the other side's: see ownerOf
    const i = this.#replicates
      ? 6 * random.int(0, Math.floor(this.#rows / 6) - 1) + (this.#isPeer ? 3 : 0)
      : 3 * random.int(0, Math.floor(this.#rows / 3));
    const key = kind.keyOf(i, this.#isPeer);
    const token = `user ${this.#isPeer ? "b" : "a"} ${++this.#count}`;
    // mostly a number that nobody has; else maybe that of another row, which may be refused
    const n =
      this.#replicates || random.next() < 0.97
        ? (this.#isPeer ? 800_001 : 200_001) + 2 * this.#count
        : random.int(1, this.#rows);
    const values = { token: `'${token}'`, ...kind.valuesOf(n) };
    // of a key that is spelled in other ways, the row that is there is meant
    const match = `${kind.ident((column) => column)} = ${kind.ident((column) => key[kind.key.indexOf(column)] ?? "null")}`;
    const does = random.pick(["insert", "insert", "update", "update", "delete"]);
    const statement = {
      insert: `insert into public.${name} (${[...kind.key, ...Object.keys(values)].join(", ")}) values (${[...key, ...Object.values(values)].join(", ")})`,
      update: `update public.${name} set ${Object.entries(values)
        .map(([column, value]) => `${column} = ${value}`)
        .join(", ")} where ${match}`,
      delete: `delete from public.${name} where ${match}`,
    }[does];
    await session.query(
      "select public.write($1, $2, (select " +
        kind.ident((column) => key[kind.key.indexOf(column)] ?? "null") +
        "), $3, $4)",
      [name, match, does === "delete" ? null : token, statement],
    );
  }
}
