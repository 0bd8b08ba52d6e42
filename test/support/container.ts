import pg from "pg";
import { GenericContainer, Network, type StartedNetwork, Wait } from "testcontainers";
import { freePort } from "./free-port.ts";
import type { ConnectOptions, PgNode, Row, Settings, StopMode } from "./node.ts";
import { type RunOptions, type RunResult, run } from "./pg.ts";
import { reloadBy } from "./reload.ts";
import { Sessions } from "./sessions.ts";
import { waitUntil } from "./wait-until.ts";

export interface ContainerOptions {
  /** Its name in the network, too. */
  readonly name?: string;
  readonly env?: Readonly<Record<string, string>>;
  /** Given to postgres as arguments. */
  readonly settings?: Settings;
  /** As much memory as it may have at most. */
  readonly memoryMb?: number;
  /** Path to mount options. */
  readonly tmpfs?: Readonly<Record<string, string>>;
  /** Path to the name of a volume or to a directory of this machine. */
  readonly volumes?: Readonly<Record<string, string>>;
  readonly network?: StartedNetwork;
}

/** The image under test. */
export const image = process.env.STEEP_IMAGE || "steep_repl:dev";

/** What the superuser's password is, where a test does not give another. */
export const containerPassword = "a secret, with 'quotes'";

const stopSignals = { smart: "SIGTERM", fast: "SIGINT", immediate: "SIGQUIT" } as const;

/** The command line of the engine. Throws what it said when it fails. */
export function docker(args: readonly string[], options: RunOptions = {}): Promise<RunResult> {
  return run("docker", args, options);
}

/** A network in which containers know each other by their names. */
export function startNetwork(): Promise<StartedNetwork> {
  return new Network().start();
}

/** Start a container of the image under test, and wait until it is healthy. */
export async function startContainer(options: ContainerOptions = {}): Promise<Container> {
  const container = new Container(options, await freePort());
  try {
    await container.start();
    return container;
  } catch (error) {
    await container.destroy();
    throw error;
  }
}

/** A PostgreSQL that runs in a container. */
export class Container implements PgNode {
  readonly name: string;
  readonly port: number;
  /** The directory that steep_repl.snapshot_directories names, in the container. */
  readonly snapshotDir = "/snapshots";
  readonly #options: ContainerOptions;
  readonly #sessions: Sessions;
  #id: string | undefined;

  constructor(options: ContainerOptions, port: number) {
    this.name = options.name ?? "node";
    this.port = port;
    this.#options = options;
    const password = options.env?.POSTGRES_PASSWORD ?? containerPassword;
    this.#sessions = new Sessions({ host: "127.0.0.1", port, password });
  }

  /** The engine's name for it. */
  get id(): string {
    if (this.#id === undefined) throw new Error(`${this.name} was never started`);
    return this.#id;
  }

  async start(): Promise<void> {
    if (this.#id === undefined) await this.#create();
    else await docker(["start", this.#id]);
    await waitUntil(() => this.#answers(), Boolean, `${this.name} accepts connections`, {
      timeoutMs: 120_000,
    });
  }

  async #create(): Promise<void> {
    const { env = {}, settings = {}, memoryMb, tmpfs = {}, volumes = {}, network } = this.#options;
    const definition = new GenericContainer(image)
      .withEnvironment({ POSTGRES_PASSWORD: containerPassword, ...env })
      .withCommand(Object.entries(settings).flatMap(([name, value]) => ["-c", `${name}=${value}`]))
      // the same after a restart, which an arbitrary one would not be
      .withExposedPorts({ container: 5432, host: this.port })
      .withTmpFs({ ...tmpfs })
      .withBindMounts(Object.entries(volumes).map(([target, source]) => ({ source, target })))
      .withWaitStrategy(Wait.forHealthCheck())
      .withStartupTimeout(150_000);
    if (memoryMb !== undefined) definition.withResourcesQuota({ memory: memoryMb / 1024 });
    const started = await definition.start();
    this.#id = started.getId();
    // besides the network of its port, so that the tests reach it whatever happens to this one
    if (network) await this.connectTo(network);
  }

  /** Let it take part in a network. */
  async connectTo(network: StartedNetwork): Promise<void> {
    await docker(["network", "connect", "--alias", this.name, network.getName(), this.id]);
  }

  /** Pull the cable. */
  async disconnectFrom(network: StartedNetwork): Promise<void> {
    await docker(["network", "disconnect", network.getName(), this.id]);
  }

  async #answers(): Promise<boolean> {
    if (!(await this.isRunning())) {
      throw new Error(`${this.name} ended while it started:\n${(await this.log()).slice(-4000)}`);
    }
    try {
      await this.query("select 1", [], { user: this.#options.env?.POSTGRES_USER ?? "postgres" });
      return true;
    } catch (error) {
      const { code, message } = error as { code?: string; message: string };
      // not yet listening, or starting up; the port is the engine's, which hangs up on us
      if (code === "ECONNREFUSED" || code === "ECONNRESET" || code === "57P03") return false;
      if (message.includes("terminated unexpectedly")) return false;
      throw error;
    }
  }

  /** A field of what the engine knows about it, such as `.State.ExitCode`. */
  async inspect(field: string): Promise<string> {
    return (await docker(["inspect", "--format", `{{${field}}}`, this.id])).stdout.trim();
  }

  async isRunning(): Promise<boolean> {
    return (await this.inspect(".State.Running")) === "true";
  }

  async #signal(name: string): Promise<void> {
    if (this.#id === undefined || !(await this.isRunning())) return;
    await docker(["kill", "--signal", name, this.#id]);
    await waitUntil(
      () => this.isRunning(),
      (running) => !running,
      `${this.name} ends on ${name}`,
      { timeoutMs: 60_000 },
    );
    await this.#sessions.endAll();
  }

  async stop(mode: StopMode = "fast"): Promise<void> {
    if (mode === "smart") await this.#sessions.endAll();
    await this.#signal(stopSignals[mode]);
  }

  /** The first process takes all others with it. */
  kill9(): Promise<void> {
    return this.#signal("SIGKILL");
  }

  async configure(settings: Settings): Promise<void> {
    for (const [name, value] of Object.entries(settings)) {
      await this.query(
        `alter system set ${name.split(".").map(pg.escapeIdentifier).join(".")} = ${pg.escapeLiteral(String(value))}`,
      );
    }
    await reloadBy(this, () => this.query("select pg_reload_conf()"));
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

  uri(database = "postgres", user = "postgres"): string {
    const encode = encodeURIComponent;
    return `postgresql://${encode(user)}:${encode(containerPassword)}@127.0.0.1:${this.port}/${encode(database)}`;
  }

  /** Run a program in it. */
  exec(command: readonly string[], options: RunOptions = {}): Promise<RunResult> {
    return docker(["exec", "-i", this.id, ...command], options);
  }

  async log(): Promise<string> {
    const { stdout, stderr } = await docker(["logs", this.id]);
    return stdout + stderr;
  }

  async destroy(): Promise<void> {
    await this.#sessions.endAll();
    if (this.#id !== undefined) await docker(["rm", "--force", "--volumes", this.#id]);
  }
}
