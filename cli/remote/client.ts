import {
  type CallOptions,
  type Client,
  Code,
  ConnectError,
  createClient,
} from "@connectrpc/connect";
import { createGrpcTransport } from "@connectrpc/connect-node";
import { CliError, connectionError, exitCode, usageError } from "../cli-error.ts";
import { onInterrupt } from "../interrupt.ts";
import { Coordinator, InitService } from "../rpc/generated/steep_repl_pb.ts";
import type { Address } from "./address.ts";
import { connectFailure } from "./connect-failure.ts";
import { Connection } from "./connection.ts";
import type { Security } from "./security.ts";

/** Fingerprints of 100,000 tables are less. */
const maxAnswerBytes = 256 * 1024 * 1024;

/** A connection that is lost is closed so long after its streams. */
const closingMs = 100;

const directHint = "connect to PostgreSQL itself, with --direct and -c or the PG* variables";

/** What becomes of work in the server when its RPC is cut. */
export interface WhenCut {
  /** Said on stderr after Ctrl-C. */
  readonly interrupted: () => string;
  /** Of --timeout. */
  readonly hint: string;
}

const nothingBegun: WhenCut = { interrupted: () => "", hint: "raise --timeout" };

/** A daemon, ours or the predecessor's. The caller closes it. */
export class Remote {
  readonly coordinator: Client<typeof Coordinator>;
  readonly init: Client<typeof InitService>;
  readonly #address: Address;
  readonly #isTls: boolean;
  readonly #connection: Connection;
  readonly #timeout: number | undefined;
  readonly #say: (message: string) => void;

  /**
   * @param timeout seconds that an RPC may take
   * @param say what is written to stderr
   */
  constructor(
    address: Address,
    { tls }: Security,
    timeout: number | undefined,
    say: (message: string) => void,
  ) {
    const baseUrl = `http${tls === undefined ? "" : "s"}://${address.text}`;
    this.#address = address;
    this.#isTls = tls !== undefined;
    this.#timeout = timeout;
    this.#say = say;
    this.#connection = new Connection(baseUrl, tls);
    const transport = createGrpcTransport({
      ...{ baseUrl, sessionManager: this.#connection, readMaxBytes: maxAnswerBytes },
    });
    this.coordinator = createClient(Coordinator, transport);
    this.init = createClient(InitService, transport);
  }

  /** HOST:PORT. */
  get place(): string {
    return this.#address.text;
  }

  /**
   * Wait for an RPC. Ctrl-C and --timeout cut it.
   *
   * @throws CliError for whatever it ends with
   */
  async call<T>(
    rpc: (options: CallOptions) => Promise<T>,
    whenCut: WhenCut = nothingBegun,
  ): Promise<T> {
    const cut = new AbortController();
    const options: CallOptions = {
      signal: cut.signal,
      ...(this.#timeout === undefined ? {} : { timeoutMs: Math.ceil(this.#timeout * 1000) }),
    };
    try {
      return await onInterrupt(
        () => cut.abort(),
        () => rpc(options),
      );
    } catch (error) {
      if (error instanceof CliError) throw error;
      if (cut.signal.aborted) {
        const said = whenCut.interrupted();
        if (said !== "") this.#say(said);
        throw new CliError(exitCode.interrupted, "");
      }
      throw await this.#failure(ConnectError.from(error), whenCut.hint);
    }
  }

  /**
   * Wait for an RPC whose answer says whether it succeeded.
   *
   * @throws CliError also where the answer says that it failed
   */
  async ask<T extends { readonly success: boolean; readonly error: string }>(
    rpc: (options: CallOptions) => Promise<T>,
    whenCut?: WhenCut,
  ): Promise<T> {
    const answer = await this.call(rpc, whenCut);
    if (!answer.success) {
      throw new CliError(exitCode.failed, answer.error || this.#silence, directHint);
    }
    return answer;
  }

  close(): Promise<void> {
    return this.#connection.close();
  }

  get #silence(): string {
    return `the daemon at ${this.place} says that it failed, and not why`;
  }

  async #failure(error: ConnectError, timeoutHint: string): Promise<CliError> {
    const { code, rawMessage } = error;
    if (code === Code.DeadlineExceeded && this.#timeout !== undefined) {
      return new CliError(exitCode.timeout, `timed out after ${this.#timeout} s`, timeoutHint);
    }
    const failure = await this.#lossBehind(error);
    if (failure === undefined) return explainStatus(code, rawMessage, this.place);
    if (!this.#connection.hasGreeted) return connectFailure(failure, this.#address, this.#isTls);
    return connectionError(
      `the connection to the daemon at ${this.place} was lost: ${failure.message}`,
      "try again, or see the daemon's log",
    );
  }

  /** How the connection was lost, if that is what ended a stream, and no status. */
  async #lossBehind({ code, cause }: ConnectError): Promise<Error | undefined> {
    if (!this.#connection.hasGreeted) return this.#connection.failure;
    if (cause instanceof Error && "code" in cause && typeof cause.code === "string") {
      return this.#connection.failure ?? cause;
    }
    // connect takes a stream that ends with its connection for one that the server has cut
    return code === Code.Canceled ? await this.#connection.end(closingMs) : undefined;
  }
}

/** The status that a daemon ended an RPC with. */
function explainStatus(code: Code, message: string, place: string): CliError {
  const said = message || `status ${Code[code]}`;
  switch (code) {
    case Code.Unavailable:
      return connectionError(
        `the daemon at ${place}: ${said}`,
        "try again, or see the daemon's log",
      );
    case Code.InvalidArgument:
      return usageError(`the daemon at ${place}: ${said}`, "see --help");
    case Code.Canceled:
      return new CliError(exitCode.cancelled, said, "somebody else has cancelled it");
    case Code.Unimplemented:
      return new CliError(
        exitCode.failed,
        `the daemon at ${place} has no such RPC (${said})`,
        directHint,
      );
    case Code.DeadlineExceeded:
      return new CliError(exitCode.timeout, `the daemon at ${place}: ${said}`, "raise --timeout");
    default:
      return new CliError(
        exitCode.failed,
        `the daemon at ${place}: ${said} (${Code[code]})`,
        "see the daemon's log, and that of PostgreSQL",
      );
  }
}
