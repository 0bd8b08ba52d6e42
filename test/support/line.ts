import { once } from "node:events";
import { connect, createServer, type Socket, type Server as TcpServer } from "node:net";

/** What stands between two servers, counts what passes, and can cut the line. */
export class Line {
  /** Bytes that have passed towards who connects. */
  bytes = 0;
  /** Whether who connects after that gets through no more. */
  staysCut = false;
  /** Whether who connects gets through. */
  isOpen = true;
  readonly port: number;
  readonly #server: TcpServer;
  readonly #sockets = new Set<Socket>();
  #sinceCut = 0;
  #cutEvery = Number.POSITIVE_INFINITY;

  private constructor(server: TcpServer, target: number) {
    this.#server = server;
    this.port = (server.address() as { port: number }).port;
    server.on("connection", (client) => this.#pass(client, connect(target, "127.0.0.1")));
  }

  /** In front of the server at this port. */
  static async before(target: number): Promise<Line> {
    const server = createServer();
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
    return new Line(server, target);
  }

  /** Connections are cut each time that so many bytes more have passed, from now on. */
  set cutEvery(bytes: number) {
    this.#cutEvery = bytes;
    this.#sinceCut = 0;
  }

  #pass(client: Socket, peer: Socket): void {
    for (const [from, to] of [
      [client, peer],
      [peer, client],
    ] as const) {
      this.#sockets.add(from);
      from.setNoDelay();
      from.on("error", () => to.destroy());
      from.on("close", () => {
        this.#sockets.delete(from);
        to.destroy();
      });
    }
    if (!this.isOpen) {
      client.destroy();
      return;
    }
    client.pipe(peer);
    peer.on("data", (bytes) => this.#count(bytes));
    peer.pipe(client);
  }

  #count(bytes: Buffer): void {
    this.bytes += bytes.length;
    this.#sinceCut += bytes.length;
    if (this.#sinceCut < this.#cutEvery) return;
    this.#sinceCut = 0;
    this.isOpen &&= !this.staysCut;
    this.cut();
  }

  /** Cut all lines that there are. */
  cut(): void {
    for (const socket of this.#sockets) socket.destroy();
  }

  async close(): Promise<void> {
    this.cut();
    this.#server.close();
    await once(this.#server, "close");
  }
}
