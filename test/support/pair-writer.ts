import { setTimeout as sleep } from "node:timers/promises";
import { createRandom, type Random } from "./random.ts";
import type { Server } from "./server.ts";
import { waitUntil } from "./wait-until.ts";

/**
 * Writes to the tables of pair.test.ts, as an application does, until it is told to end: rows come, change and go, in transactions
 * of one or several statements, with savepoints, some of which are rolled back.
 */
export class Writer {
  readonly #server: Server;
  readonly #random: Random = createRandom();
  readonly #statements: readonly string[];
  /** while its server is killed, it waits for it */
  readonly #reconnects: boolean;
  /** what it calls its prepared transaction */
  readonly #prepared: string;
  readonly #done: Promise<void>;
  #ends = false;
  #failure: unknown = null;
  written = 0;

  constructor(
    server: Server,
    {
      inserts = true,
      changes = true,
      reconnects = false,
      half,
    }: {
      readonly inserts?: boolean;
      readonly changes?: boolean;
      readonly reconnects?: boolean;
      /** what is left of the ids that it changes, divided by two; two nodes that change one row at once would exchange its values */
      readonly half?: 0 | 1;
    } = {},
  ) {
    this.#server = server;
    this.#reconnects = reconnects;
    this.#prepared = `writer of ${server.name}`;
    const mine = half === undefined ? "true" : `id % 2 = ${half}`;
    const ofRows = [
      `update t set v = v || '.' where id = (select id from t where ${mine} order by md5(id::text || clock_timestamp()::text) limit 1)`,
      `update child set n = n + 1 where id % 97 = (random() * 96)::int and ${mine}`,
      `delete from child where id = (select min(id) from child where t > 1)`,
    ];
    this.#statements = [
      ...(changes ? (inserts ? ofRows : ofRows.slice(0, 2)) : []),
      ...(inserts
        ? [
            `insert into t (v) values (md5(random()::text))`,
            `insert into part (k) values (1), (2)`,
            `with new as (insert into t (v) values ('parent') returning id) insert into child (t, n) select id, 0.5 from new`,
            `begin; insert into t (v) values ('kept'); savepoint s; insert into t (v) values ('gone'); rollback to s; commit`,
            `begin; insert into t (v) values ('never'); rollback`,
            `insert into t (v) values ('alone'), ('together')`,
            // several for the server, one for us
            `begin; insert into t (v) values ('prepared'); prepare transaction '${this.#prepared}' | commit prepared '${this.#prepared}'`,
            ...(changes
              ? [`truncate log | insert into log select i from generate_series(1, 50) i`]
              : []),
          ]
        : []),
    ];
    this.#done = this.#run();
  }

  async #run(): Promise<void> {
    try {
      while (!this.#ends) {
        await this.#write();
      }
    } catch (e) {
      this.#failure = e;
    }
  }

  async #write(): Promise<void> {
    try {
      for (const statement of this.#random.pick(this.#statements).split(" | ")) {
        await this.#server.query(statement);
      }
      this.written++;
    } catch (e) {
      if (!this.#reconnects || !isLost(codeOf(e))) throw e;
      await this.#commitWhatIsPrepared();
    }
  }

  /** A server that was killed between the two statements still has the transaction, under a name that the next one wants. */
  async #commitWhatIsPrepared(): Promise<void> {
    for (;;) {
      await sleep(20);
      try {
        const [left] = await this.#server.query("select from pg_prepared_xacts where gid = $1", [
          this.#prepared,
        ]);
        if (left !== undefined) await this.#server.query(`commit prepared '${this.#prepared}'`);
        return;
      } catch (e) {
        if (!isLost(codeOf(e))) throw e;
      }
    }
  }

  /** Wait until so many more statements are done. */
  async until(more: number): Promise<void> {
    const wanted = this.written + more;
    await waitUntil(
      () => this.#failure ?? this.written,
      (n) => typeof n !== "number" || n >= wanted,
      "the writer writes on",
    );
  }

  async end(): Promise<void> {
    this.#ends = true;
    await this.#done;
    if (this.#failure !== null) throw this.#failure;
  }
}

const codeOf = (e: unknown): string => (e instanceof Error && "code" in e ? String(e.code) : "");

/** Whether a connection was lost or refused, as it is while a server is killed and starts again. */
const isLost = (code: string): boolean => /^(57P0|08|ECONN|EPIPE|ENOENT|$)/.test(code);
