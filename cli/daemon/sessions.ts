import { Code, ConnectError } from "@connectrpc/connect";
import { CliError } from "../cli-error.ts";
import { isConnectionLoss } from "../connection/connection-loss.ts";
import type { Environment } from "../connection/environment.ts";
import { resolveTarget } from "../connection/resolve.ts";
import { Session } from "../session.ts";
import type { DaemonConfig } from "./config.ts";
import { commandPassword } from "./password.ts";

/** So many sessions are open at most; who comes later waits for one. */
const maxSessions = 20;
/** So many wait at most. */
const maxWaiting = 1000;
/** One that nobody needs for so long is closed. */
const idleMs = 60_000;
/** A server that does not answer for so long is taken for gone, where nobody says otherwise. */
const answerMs = 15_000;

/**
 * Sessions with PostgreSQL, which RPCs borrow. Where the server is down, an RPC is told so at once; the
 * next one tries again.
 */
export class Sessions {
  readonly #config: DaemonConfig;
  readonly #env: Environment;
  readonly #idle: { readonly session: Session; readonly timer: NodeJS.Timeout }[] = [];
  /** Each gets a session, or the place of one that was closed. */
  readonly #waiting: ((session: Session | undefined) => void)[] = [];
  #open = 0;
  #isClosed = false;

  constructor(config: DaemonConfig, env: Environment) {
    this.#config = config;
    this.#env = env;
  }

  /** How many are open, for tests and metrics. */
  get count(): number {
    return this.#open;
  }

  /**
   * Do something in a session, which is cut off if it takes longer than `within` ms.
   *
   * @throws ConnectError UNAVAILABLE where there is no connection, or no answer
   */
  async use<T>(action: (session: Session) => Promise<T>, within = answerMs): Promise<T> {
    const session = await this.#borrow();
    let isSound = false;
    const timer = setTimeout(
      () => session.cut(`the server has not answered for ${within / 1000} s`),
      within,
    );
    try {
      const result = await action(session);
      isSound = true;
      return result;
    } catch (error) {
      isSound = session.lossReason === undefined && !isConnectionLoss(error);
      if (!isSound) throw unavailable(session.lossReason ?? (error as Error).message);
      throw error;
    } finally {
      clearTimeout(timer);
      this.#giveBack(session, isSound);
    }
  }

  /** Close those that nobody uses, and no longer keep any. */
  async end(): Promise<void> {
    this.#isClosed = true;
    const idle = this.#idle.splice(0);
    for (const { timer } of idle) clearTimeout(timer);
    await Promise.all(idle.map(({ session }) => session.end()));
    this.#open -= idle.length;
  }

  async #borrow(): Promise<Session> {
    for (let idle = this.#idle.pop(); idle !== undefined; idle = this.#idle.pop()) {
      const { session, timer } = idle;
      clearTimeout(timer);
      if (session.lossReason === undefined) return session;
      this.#close(session);
    }
    if (this.#waiting.length >= maxWaiting)
      throw new ConnectError("too many requests wait for a session", Code.ResourceExhausted);
    if (this.#open >= maxSessions) {
      const given = await new Promise<Session | undefined>((resolve) =>
        this.#waiting.push(resolve),
      );
      if (given) return given;
    } else this.#open++;
    try {
      return await this.#connect();
    } catch (error) {
      this.#release();
      throw error;
    }
  }

  async #connect(): Promise<Session> {
    const { host, port, database, user, sslmode, passwordCommand } = this.#config.postgresql;
    try {
      const password = await commandPassword(passwordCommand);
      const target = resolveTarget(
        conninfo({ host, port, dbname: database, user, sslmode, password, connect_timeout: 5 }),
        this.#env,
      );
      return await Session.open(target, this.#env, () => {});
    } catch (error) {
      if (error instanceof CliError) throw unavailable(error.message, error.hint);
      throw error;
    }
  }

  #giveBack(session: Session, isSound: boolean): void {
    if (!isSound || this.#isClosed) {
      this.#close(session);
      return;
    }
    const next = this.#waiting.shift();
    if (next) {
      next(session);
      return;
    }
    const timer = setTimeout(() => {
      const at = this.#idle.findIndex((idle) => idle.session === session);
      if (at >= 0) this.#idle.splice(at, 1);
      this.#close(session);
    }, idleMs);
    timer.unref();
    this.#idle.push({ session, timer });
  }

  #close(session: Session): void {
    void session.end();
    this.#release();
  }

  #release(): void {
    const next = this.#waiting.shift();
    if (next) next(undefined);
    else this.#open--;
  }
}

function unavailable(reason: string, hint?: string): ConnectError {
  return new ConnectError(`PostgreSQL: ${reason}${hint ? `; ${hint}` : ""}`, Code.Unavailable);
}

function conninfo(parts: Readonly<Record<string, string | number | undefined>>): string {
  return Object.entries(parts)
    .filter(([, value]) => value !== undefined)
    .map(([key, value]) => `${key}='${String(value).replace(/['\\]/g, "\\$&")}'`)
    .join(" ");
}
