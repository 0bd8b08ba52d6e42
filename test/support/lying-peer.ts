import { once } from "node:events";
import { connect, createServer, type Socket, type Server as TcpServer } from "node:net";
import { type Json, leavesOf, replaced } from "./leaves.ts";

/*
 * A server that stands between ours and its peer, and changes what the peer answers: as the peer's superuser could, who
 * can replace functions of pg_catalog, but wherever we like. It speaks the protocol as far as that takes.
 */

/** What becomes of the text of a value that the peer answers. */
export type Lie = (text: string) => string;

const sslRequest = 80877103;
const gssRequest = 80877104;

/** The kinds of answers that a text has, each by a name: of JSON the ways to its leaves, whatever the numbers of items. */
export function kindsOf(text: string): string[] {
  const json = parsed(text);
  if (json === undefined)
    return [/^\{/.test(text) ? "an array" : /\n/.test(text) ? "lines" : "a word"];
  return [...new Set(leavesOf(json).map(nameOf))];
}

function nameOf(way: readonly (string | number)[]): string {
  return way.map((step) => (typeof step === "number" ? "[]" : `.${step}`)).join("");
}

function parsed(text: string): Json | undefined {
  try {
    const json = JSON.parse(text) as Json;
    return json !== null && typeof json === "object" ? json : undefined;
  } catch {
    return undefined;
  }
}

/** Answers of this kind are another text instead. */
export function lieAbout(kind: string, instead: string): Lie {
  return (text) => {
    if (!kindsOf(text).includes(kind)) return text;
    const json = parsed(text);
    if (json === undefined) return instead;
    const ways = leavesOf(json).filter((way) => nameOf(way) === kind);
    return JSON.stringify(ways.reduce((made, way) => replaced(made, way, instead), json));
  };
}

/** A row of text values, with each of them changed. */
function changed(row: Buffer, lie: Lie): Buffer {
  const parts: Buffer[] = [row.subarray(0, 2)];
  for (let i = 0, at = 2; i < row.readInt16BE(0); i++) {
    const size = row.readInt32BE(at);
    const value = Buffer.from(lie(row.subarray(at + 4, at + 4 + Math.max(size, 0)).toString()));
    const length = Buffer.alloc(4);
    length.writeInt32BE(size < 0 ? size : value.length);
    parts.push(length, ...(size < 0 ? [] : [value]));
    at += 4 + Math.max(size, 0);
  }
  return Buffer.concat(parts);
}

/** Whole messages of a server, of those that have come; and what is left. */
function passOn(bytes: Buffer, client: Socket, lie: Lie, noise: Buffer): Buffer {
  let rest = bytes;
  while (rest.length >= 5 && rest.length > rest.readInt32BE(1)) {
    const end = 1 + rest.readInt32BE(1);
    if (noise.length > 0) client.write(noise);
    if (rest[0] !== "D".charCodeAt(0)) client.write(rest.subarray(0, end));
    else {
      const row = changed(rest.subarray(5, end), lie);
      const head = Buffer.from("D\0\0\0\0");
      head.writeInt32BE(row.length + 4, 1);
      client.write(Buffer.concat([head, row]));
    }
    rest = rest.subarray(end);
  }
  return rest;
}

/** Answers that no encryption is to be had, until the client begins. */
function begin(client: Socket, bytes: Buffer): boolean {
  const code = bytes.length === 8 ? bytes.readInt32BE(4) : 0;
  if (code !== sslRequest && code !== gssRequest) return false;
  client.write("N");
  return true;
}

export class LyingPeer {
  /** What is answered falsely now. */
  lie: Lie = (text) => text;
  /** What is sent before each message of an answer. */
  noise: Buffer = Buffer.alloc(0);
  /** Whether what comes from the client is read. */
  isReading = true;
  /** Whether who connects is answered. */
  isAnswering = true;
  readonly port: number;
  readonly #server: TcpServer;
  readonly #sockets: Set<Socket>;

  private constructor(server: TcpServer, sockets: Set<Socket>) {
    this.#server = server;
    this.#sockets = sockets;
    this.port = (server.address() as { port: number }).port;
  }

  /** In front of the server at this port. */
  static async before(port: number): Promise<LyingPeer> {
    const sockets = new Set<Socket>();
    const server = createServer((client) => {
      sockets.add(client);
      if (!self.isAnswering) return;
      const peer = connect(port, "127.0.0.1");
      let rest: Buffer = Buffer.alloc(0);
      let hasBegun = false;
      client.on("data", (bytes) => {
        if (!self.isReading) client.pause();
        hasBegun = hasBegun || !begin(client, bytes);
        if (hasBegun) peer.write(bytes);
      });
      peer.on("data", (bytes) => {
        rest = passOn(Buffer.concat([rest, bytes]), client, (text) => self.lie(text), self.noise);
      });
      for (const [from, to] of [
        [client, peer],
        [peer, client],
      ] as const) {
        sockets.add(from);
        // a session that one side has ended is over for the other, too
        from.on("error", () => to.destroy());
        from.on("close", () => {
          sockets.delete(from);
          to.destroy();
        });
      }
    });
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
    const self = new LyingPeer(server, sockets);
    return self;
  }

  async close(): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    this.#server.close();
    await once(this.#server, "close");
  }
}
