import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { openSync } from "node:fs";
import { appendFile, mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import pg from "pg";
import { createDataDirectory, giveToServer, settingLines, unprivileged } from "./data-directory.ts";
import { type Engine, engineUnderTest } from "./engines.ts";
import { freePort } from "./free-port.ts";
import type { ConnectOptions, PgNode, Row, Settings, StopMode } from "./node.ts";
import { bin, inProject, run } from "./pg.ts";
import { descendants, isAlive, signal } from "./processes.ts";
import { reloadBy } from "./reload.ts";
import { serversDir } from "./servers-dir.ts";
import { Sessions } from "./sessions.ts";
import { waitUntil } from "./wait-until.ts";

export interface ServerOptions {
  /** For its directory's name. */
  readonly name?: string;
  readonly settings?: Settings;
  /** Preload steep_repl; default true. */
  readonly preload?: boolean;
  readonly engine?: Engine;
  /** Servers of different identities have different system identifiers, as real nodes have. */
  readonly identity?: string;
  /** Lines that go before those of pg_hba.conf, which trust everybody. */
  readonly hba?: readonly string[];
  /** Added to the server's environment. */
  readonly env?: Readonly<Record<string, string>>;
}

const stopSignals = { smart: "SIGTERM", fast: "SIGINT", immediate: "SIGQUIT" } as const;

let count = 0;

/** Make and start a server of its own, with steep_repl ready to be created. */
export async function startServer(options: ServerOptions = {}): Promise<Server> {
  const server = await Server.create(options);
  try {
    await server.start();
    return server;
  } catch (error) {
    await server.destroy();
    throw error;
  }
}

/** A PostgreSQL that runs as a child of this process. */
export class Server implements PgNode {
  readonly name: string;
  readonly engine: Engine;
  readonly port: number;
  readonly home: string;
  readonly dataDir: string;
  /** The directory that steep_repl.snapshot_directories names. */
  readonly snapshotDir: string;
  readonly socketDir: string;
  readonly #sessions: Sessions;
  readonly #env: Readonly<Record<string, string>>;
  #postmaster: ChildProcess | undefined;

  private constructor(
    name: string,
    engine: Engine,
    port: number,
    socketDir: string,
    env: Readonly<Record<string, string>>,
  ) {
    this.name = name;
    this.engine = engine;
    this.port = port;
    this.socketDir = socketDir;
    this.home = join(serversDir, `${name}.${process.pid}.${count++}`);
    this.dataDir = join(this.home, "data");
    this.snapshotDir = join(this.home, "snapshots");
    this.#env = env;
    this.#sessions = new Sessions({ host: "127.0.0.1", port });
  }

  static async create(options: ServerOptions): Promise<Server> {
    const engine = options.engine ?? engineUnderTest();
    // a socket's path has at most 107 bytes, and the checkout's can be longer
    const sockets = await mkdtemp(join(tmpdir(), "steep-"));
    const server = new Server(
      options.name ?? "server",
      engine,
      await freePort(),
      sockets,
      options.env ?? {},
    );
    try {
      await mkdir(server.home, { recursive: true });
      await mkdir(server.snapshotDir, { mode: 0o700 });
      await writeFile(join(server.home, "sockets"), sockets);
      await createDataDirectory(server.dataDir, engine, options.identity ?? "");
      await server.#writeConfiguration(options);
      await giveToServer(server.home, sockets);
      return server;
    } catch (error) {
      await server.destroy();
      throw error;
    }
  }

  async #writeConfiguration({ settings = {}, preload = true, hba = [] }: ServerOptions) {
    const staged = (await run(inProject("scripts/stage-settings.sh"), [this.engine])).stdout;
    const own: Settings = {
      port: this.port,
      unix_socket_directories: this.socketDir,
      ...(preload ? { shared_preload_libraries: "steep_repl" } : {}),
      "steep_repl.snapshot_directories": this.snapshotDir,
      // how long a subscription waits before it connects once more, instead of 5 s
      wal_retrieve_retry_interval: "200ms",
      ...settings,
    };
    await appendFile(join(this.dataDir, "postgresql.conf"), staged + settingLines(own));
    if (hba.length > 0) {
      const file = join(this.dataDir, "pg_hba.conf");
      await writeFile(file, `${hba.join("\n")}\n${await readFile(file, "utf8")}`);
    }
  }

  /** The postmaster's process id. */
  get pid(): number {
    if (this.#postmaster?.pid === undefined) throw new Error(`${this.name} does not run`);
    return this.#postmaster.pid;
  }

  async start(): Promise<void> {
    if (this.#postmaster) throw new Error(`${this.name} runs already`);
    const log = openSync(join(this.home, "log"), "a");
    // scripts/unprivileged.sh becomes the program, so that the child is the postmaster
    const child = spawn(unprivileged, [bin("postgres"), "-D", this.dataDir], {
      stdio: ["ignore", log, log],
      env: { ...process.env, ...this.#env },
    });
    this.#postmaster = child;
    const atExit = () => child.kill("SIGQUIT");
    process.once("exit", atExit);
    child.once("exit", () => {
      process.off("exit", atExit);
      if (this.#postmaster === child) this.#postmaster = undefined;
    });
    await waitUntil(() => this.#answers(), Boolean, `${this.name} accepts connections`, {
      timeoutMs: 60_000,
    });
  }

  async #answers(): Promise<boolean> {
    if (!this.#postmaster) {
      throw new Error(`${this.name} ended while it started:\n${(await this.log()).slice(-4000)}`);
    }
    try {
      await this.query("select 1");
      return true;
    } catch (error) {
      const code = (error as { code?: string }).code;
      // not yet listening, or starting up
      if (code === "ECONNREFUSED" || code === "ECONNRESET" || code === "57P03") return false;
      throw error;
    }
  }

  async stop(mode: StopMode = "fast"): Promise<void> {
    const child = this.#postmaster;
    if (!child) return;
    if (mode === "smart") await this.#sessions.endAll();
    const exit = once(child, "exit");
    child.kill(stopSignals[mode]);
    const timer = setTimeout(() => child.kill("SIGKILL"), 60_000);
    const [, killed] = await exit;
    clearTimeout(timer);
    await this.#sessions.endAll();
    if (killed === "SIGKILL") throw new Error(`${this.name} did not stop (${mode}) within 60 s`);
  }

  async kill9(): Promise<void> {
    const child = this.#postmaster;
    if (!child) return;
    const exit = once(child, "exit");
    // stopped first, it can neither start another process nor notice that one died
    signal(this.pid, "SIGSTOP");
    const below = descendants(this.pid);
    child.kill("SIGKILL");
    for (const pid of below) signal(pid, "SIGKILL");
    await exit;
    await waitUntil(
      () => below.filter(isAlive),
      (left) => left.length === 0,
      "all processes end",
    );
    await this.#sessions.endAll();
  }

  async restart(mode: StopMode = "fast"): Promise<void> {
    await this.stop(mode);
    await this.start();
  }

  async configure(settings: Settings): Promise<void> {
    await appendFile(join(this.dataDir, "postgresql.conf"), settingLines(settings));
    if (this.#postmaster) await this.reload();
  }

  /** Read the configuration again; returns when new sessions have it. */
  reload(): Promise<void> {
    return reloadBy(this, () => signal(this.pid, "SIGHUP"));
  }

  connect(options: ConnectOptions = {}): Promise<pg.Client> {
    return this.#sessions.connect(options);
  }

  /** One statement in a session of its own; returns its rows. */
  query<R extends Row = Row>(
    sql: string,
    params: readonly unknown[] = [],
    options: ConnectOptions = {},
  ): Promise<R[]> {
    return this.#sessions.query<R>(sql, params, options);
  }

  async createDatabase(
    name: string,
    options: { readonly extension?: boolean; readonly template?: string } = {},
  ): Promise<void> {
    const template = options.template ? ` template ${pg.escapeIdentifier(options.template)}` : "";
    await this.query(`create database ${pg.escapeIdentifier(name)}${template}`);
    if (options.extension) {
      await this.query("create extension steep_repl", [], { database: name });
    }
  }

  uri(database = "postgres", user = "postgres"): string {
    const encode = encodeURIComponent;
    return `postgresql://${encode(user)}@127.0.0.1:${this.port}/${encode(database)}`;
  }

  log(): Promise<string> {
    return readFile(join(this.home, "log"), "utf8");
  }

  /** Processes whose application_name matches a LIKE pattern. */
  async pidsByApplicationName(pattern: string): Promise<number[]> {
    const rows = await this.query<{ pid: number }>(
      "select pid from pg_stat_activity where application_name like $1 order by pid",
      [pattern],
    );
    return rows.map((row) => row.pid);
  }

  async destroy(): Promise<void> {
    await this.stop("immediate");
    await rm(this.home, { recursive: true, force: true });
    await rm(this.socketDir, { recursive: true, force: true });
  }
}
