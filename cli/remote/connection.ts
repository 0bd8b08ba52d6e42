import {
  type ClientHttp2Session,
  type ClientHttp2Stream,
  connect,
  type OutgoingHttpHeaders,
  type SecureClientSessionOptions,
} from "node:http2";
import type { Socket } from "node:net";

/** A daemon that does not greet for so long is not there. */
const greetingMs = 15_000;
/** What is still to be sent has so long when we go. */
const closeMs = 1000;
const keepAliveMs = 15_000;

/** The other side closed the connection before it greeted, or without a word. */
export class Closed extends Error {}

/** Nobody greeted. */
export class NoGreeting extends Error {}

/**
 * One connection of HTTP/2, as connect wants it. It counts as made when the other side has greeted: a server that
 * refuses a client's certificate, or speaks no HTTP/2, is connected to, but does not greet.
 */
export class Connection {
  /** As connect compares it with the origin of a request. */
  readonly authority: string;
  readonly #tls: SecureClientSessionOptions | undefined;
  #session: Promise<ClientHttp2Session> | undefined;
  #failure: Error | undefined;
  #hasGreeted = false;

  constructor(authority: string, tls: SecureClientSessionOptions | undefined) {
    this.authority = new URL(authority).origin;
    this.#tls = tls;
  }

  /** Why there is no connection, or none any more. */
  get failure(): Error | undefined {
    return this.#failure;
  }

  /** Whether there was a connection. */
  get hasGreeted(): boolean {
    return this.#hasGreeted;
  }

  /** Wait for the end of the connection, and how it came; undefined where it stays. */
  async end(forMs: number): Promise<Error | undefined> {
    const session = await this.#session?.catch(() => undefined);
    if (session === undefined || session.destroyed) return this.#failure;
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, forMs);
      session.once("close", () => {
        clearTimeout(timer);
        resolve();
      });
    });
    return this.#failure;
  }

  async request(
    method: string,
    path: string,
    headers: OutgoingHttpHeaders,
    options: object,
  ): Promise<ClientHttp2Stream> {
    this.#session ??= this.#open();
    const session = await this.#session;
    return session.request({ ...headers, ":method": method, ":path": path }, options);
  }

  /** For connect, which counts reads. */
  notifyResponseByteRead(): void {}

  /** Send what is still to be sent, as that a stream is cut, and go. */
  async close(): Promise<void> {
    const session = await this.#session?.catch(() => undefined);
    if (session === undefined || session.destroyed) return;
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, closeMs);
      session.close(() => {
        clearTimeout(timer);
        resolve();
      });
    });
    session.destroy();
  }

  #open(): Promise<ClientHttp2Session> {
    return new Promise((resolve, reject) => {
      const session = connect(this.authority, this.#tls ?? {});
      const fail = (error: Error) => {
        clearTimeout(timer);
        this.#failure ??= error;
        reject(this.#failure);
      };
      const timer = setTimeout(() => {
        fail(new NoGreeting(`no answer within ${greetingMs / 1000} s`));
        session.destroy();
      }, greetingMs);
      session.once("connect", (_, socket) => {
        (socket as Socket).setKeepAlive(true, keepAliveMs);
        // an alert of TLS after the handshake, as of a missing certificate, reaches the session in no other way
        socket.once("error", fail);
      });
      session.on("error", fail);
      session.on("close", () => fail(new Closed("the connection was closed")));
      session.once("remoteSettings", () => {
        clearTimeout(timer);
        this.#hasGreeted = true;
        resolve(session);
      });
    });
  }
}
