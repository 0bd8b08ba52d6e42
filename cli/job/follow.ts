import { setTimeout as sleep } from "node:timers/promises";
import type { Notification } from "pg";
import { CliError, exitCode } from "../cli-error.ts";
import { isConnectionLoss } from "../connection/connection-loss.ts";
import { onInterrupt } from "../interrupt.ts";
import type { Invocation } from "../invocation.ts";
import type { ResultRow, Session } from "../session.ts";
import { isOver, type Job, progress } from "./job.ts";
import type { ProgressView } from "./progress-view.ts";

const pollMs = 1000;
/** A server that does not answer for so long is taken for gone. */
const answerMs = 15_000;
/** A notification may come with every table; more often than this nobody sees it. */
const restMs = 100;

export interface FollowOptions {
  /** Seconds until we stop looking; the job goes on. */
  readonly timeout?: number;
  /** Seconds for which a lost connection is tried to be made again. */
  readonly reconnectTimeout: number;
}

/** Must come before the job is queued, so that no notification is missed. */
export async function subscribe(session: Session): Promise<void> {
  await session.client.query("listen steep_repl_progress");
}

/**
 * Show a job's progress until it is over; returns the session, which may be a new one. Progress is
 * asked for once a second and on each notification of this job: so one that was missed, while the
 * connection was away or before it began, costs a second at most.
 */
export class Follower {
  readonly #invocation: Invocation;
  readonly #job: Job;
  readonly #view: ProgressView;
  readonly #options: FollowOptions;
  readonly #stop = new AbortController();
  #session: Session;

  constructor(
    invocation: Invocation,
    session: Session,
    job: Job,
    view: ProgressView,
    options: FollowOptions,
  ) {
    this.#invocation = invocation;
    this.#session = session;
    this.#job = job;
    this.#view = view;
    this.#options = options;
  }

  async run(): Promise<Session> {
    const { timeout } = this.#options;
    const stop = (code: 5 | 130) => this.#stop.abort(code);
    const timer = timeout === undefined ? undefined : setTimeout(stop, timeout * 1000, 5);
    this.#invocation.output.beforeMessage = () => this.#view.interrupt();
    try {
      return await onInterrupt(
        () => stop(exitCode.interrupted),
        () => this.#loop(),
      );
    } finally {
      clearTimeout(timer);
      this.#view.end();
      this.#invocation.output.beforeMessage = () => {};
    }
  }

  async #loop(): Promise<Session> {
    for (;;) {
      this.#checkStopped();
      const state = await this.#poll();
      if (state) {
        this.#view.show(state);
        if (isOver(state.values.status)) return this.#session;
        await this.#wait();
      }
    }
  }

  /** Undefined when the connection was lost, and is there again. */
  async #poll(): Promise<ResultRow | undefined> {
    try {
      return await this.#answer(progress(this.#session, this.#job));
    } catch (error) {
      this.#checkStopped();
      if (!isConnectionLoss(error)) throw error;
      await this.#reconnect(error as Error);
      return undefined;
    }
  }

  /** A query's answer, unless it takes too long or we are told to stop. */
  #answer<T>(query: Promise<T>): Promise<T> {
    const { signal } = this.#stop;
    return new Promise((resolve, reject) => {
      const giveUp = () => reject(new Error("server does not answer"));
      const timer = setTimeout(giveUp, answerMs);
      signal.addEventListener("abort", giveUp);
      const settled = () => {
        clearTimeout(timer);
        signal.removeEventListener("abort", giveUp);
      };
      query.finally(settled).then(resolve, reject);
    });
  }

  async #reconnect(cause: Error): Promise<void> {
    const { output } = this.#invocation;
    const deadline = performance.now() + this.#options.reconnectTimeout * 1000;
    const reason = this.#session.lossReason ?? cause.message;
    this.#session.destroy();
    output.message(`connection lost (${reason}); trying to reconnect`);
    for (let pause = 250; ; pause = Math.min(pause * 2, 5000)) {
      try {
        this.#session = await this.#answer(this.#invocation.open());
        await subscribe(this.#session);
        output.message("reconnected");
        return;
      } catch (error) {
        this.#checkStopped();
        if (!isConnectionLoss(error)) throw error;
        if (performance.now() + pause > deadline) {
          this.#printCommands();
          throw error;
        }
      }
      await sleep(pause, undefined, { signal: this.#stop.signal }).catch(() => {});
      this.#checkStopped();
    }
  }

  /** Until there may be something new. */
  async #wait(): Promise<void> {
    const { client } = this.#session;
    const { signal } = this.#stop;
    const woken = new AbortController();
    const wake = () => woken.abort();
    const onNotification = ({ payload }: Notification) => {
      if (payload?.includes(`"${this.#job.id}"`)) wake();
    };
    client.on("notification", onNotification);
    client.once("end", wake);
    signal.addEventListener("abort", wake);
    try {
      await sleep(restMs, undefined, { signal }).catch(() => {});
      await sleep(pollMs - restMs, undefined, { signal: woken.signal }).catch(() => {});
    } finally {
      client.off("notification", onNotification);
      client.off("end", wake);
      signal.removeEventListener("abort", wake);
    }
  }

  #checkStopped(): void {
    const { signal } = this.#stop;
    if (!signal.aborted) return;
    this.#view.end();
    this.#session.destroy();
    this.#printCommands();
    if (signal.reason === exitCode.interrupted) throw new CliError(exitCode.interrupted, "");
    throw new CliError(
      exitCode.timeout,
      `${this.#job.id} is not over after ${this.#options.timeout} s`,
      "it goes on in the server; the commands above attach to it again or cancel it",
    );
  }

  #printCommands(): void {
    const { output, connectionFlags } = this.#invocation;
    const { id, operationId } = this.#job;
    const attach = `steep-repl ops wait ${operationId}${connectionFlags}`;
    const cancel = `steep-repl ops cancel ${operationId}${connectionFlags}`;
    if (output.isJson) {
      output.note(JSON.stringify({ message: `${id} goes on in the server`, attach, cancel }));
      return;
    }
    output.note(`${id} goes on in the server. To attach to it again, and to cancel it:`);
    output.note(`  ${attach}\n  ${cancel}`);
  }
}
