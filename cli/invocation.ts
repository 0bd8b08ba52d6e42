import { CliError, exitCode, usageError } from "./cli-error.ts";
import { type Environment, processEnvironment } from "./connection/environment.ts";
import type { Target } from "./connection/resolve.ts";
import { onInterrupt } from "./interrupt.ts";
import { Output } from "./output/output.ts";
import { commandOptions } from "./output/shell-words.ts";
import type { Notice, Session } from "./session.ts";

/** Options of every command. */
export interface CommonOptions {
  readonly connection?: string;
  readonly direct?: boolean;
  readonly remote?: string;
  /** Files, for TLS with a daemon. */
  readonly ca?: string;
  readonly cert?: string;
  readonly key?: string;
  readonly insecure?: boolean;
  readonly json?: boolean;
  /** Seconds. */
  readonly timeout?: number;
}

/** One call of a command: how it connects, and where its output goes. */
export class Invocation {
  readonly output: Output;
  options: CommonOptions;
  readonly environment: Environment;
  readonly #shown = new Set<string>();
  #target: Target | undefined;
  #hasConnected = false;

  constructor(options: CommonOptions) {
    this.options = options;
    this.output = new Output(options.json === true);
    const warned = new Set<string>();
    this.environment = processEnvironment((text) => {
      if (!warned.has(text)) this.output.message(`warning: ${text}`);
      warned.add(text);
    });
  }

  /** Connect. The caller ends the session. */
  async open(): Promise<Session> {
    const [{ resolveTarget }, { Session }] = await Promise.all([
      import("./connection/resolve.ts"),
      import("./session.ts"),
    ]);
    this.#target ??= resolveTarget(this.options.connection, this.environment);
    const session = await Session.open(this.#target, this.environment, (n) => this.#show(n));
    this.#hasConnected = true;
    return session;
  }

  /** Whether there was a session already, so that something may have been done. */
  get hasConnected(): boolean {
    return this.#hasConnected;
  }

  /**
   * Connect to the database of a connection string that is an argument.
   *
   * @throws CliError where -c names one, too
   */
  connectTo(connection: string): void {
    if (this.options.connection !== undefined) {
      throw usageError(
        "two connection strings name the database of this session",
        "leave out -c, or name that database with -c alone",
      );
    }
    this.options = { ...this.options, connection };
  }

  /** The same call, for the database of another connection string. */
  at(connection: string): Invocation {
    return new Invocation({ ...this.options, connection });
  }

  /** What the server has to say besides its answers; the same is said once, as a rehearsal has it said first. */
  #show({ severity = "NOTICE", message = "", detail, hint }: Notice): void {
    const facts = detail ? ` (${detail})` : "";
    const text = `${severity.toLowerCase()}: ${message}${facts}${hint ? `; hint: ${hint}` : ""}`;
    if (!this.#shown.has(text)) this.output.message(text);
    this.#shown.add(text);
  }

  /** Flags that connect another call to the same server, as a shell reads them; no password. */
  get connectionFlags(): string {
    return commandOptions(this.options.connection, this.options.direct === true);
  }

  /**
   * Connect, do something that the server answers at once or after some work, and disconnect.
   * Ctrl-C cancels that work there, too.
   */
  async withSession<T>(action: (session: Session) => Promise<T>): Promise<T> {
    const session = await this.open();
    try {
      return await this.interruptible(session, () => action(session));
    } finally {
      await session.end();
    }
  }

  /** Run statements that Ctrl-C, and --timeout, cancel in the server. */
  async interruptible<T>(session: Session, action: () => Promise<T>): Promise<T> {
    const { timeout } = this.options;
    if (timeout !== undefined) {
      await session.client.query(`set statement_timeout = ${Math.round(timeout * 1000)}`);
    }
    let cancelling: Promise<never> | undefined;
    const cancel = () => {
      cancelling = this.#cancel(session).then(
        () => process.exit(exitCode.interrupted),
        () => process.exit(exitCode.interrupted),
      );
    };
    try {
      return await onInterrupt(cancel, action);
    } catch (error) {
      // what the server says of it may be here first
      if (cancelling !== undefined) return await cancelling;
      if (timeout !== undefined && isStatementTimeout(error)) {
        throw new CliError(exitCode.timeout, `timed out after ${timeout} s`, "raise --timeout");
      }
      throw error;
    }
  }

  async #cancel(session: Session): Promise<void> {
    const { processID } = session.client as unknown as { readonly processID: number };
    setTimeout(() => process.exit(exitCode.interrupted), 3000).unref();
    const other = await this.open();
    await other.client.query("select pg_catalog.pg_cancel_backend($1)", [processID]);
  }
}

function isStatementTimeout(error: unknown): boolean {
  const { code, message = "" } = error as { readonly code?: string; readonly message?: string };
  return code === "57014" && message.includes("statement timeout");
}
