import { once } from "node:events";
import { connect, createServer, type Socket, type Server as TcpServer } from "node:net";
import { type Json, leavesOf, replaced } from "./leaves.ts";

/*
 * A server that stands between ours and its peer, and changes what the peer answers: as the peer's superuser could, who
 * can replace functions of pg_catalog, but wherever we like. It speaks the protocol as far as that takes.
 */

/** What becomes of the text of a value that the peer answers. */
export type Lie = (text: string) => string;

/**
 * What becomes of the answer to a query: it comes; it does not, since the connection is cut when the server has answered; an
 * error comes in its place; or the query never gets to the server, and no answer comes.
 */
export type Fate = "told" | "lost" | "denied" | "silent";

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

/** A message of the protocol. */
function message(type: string, body: Buffer): Buffer {
  const head = Buffer.from(`${type}\0\0\0\0`);
  head.writeInt32BE(body.length + 4, 1);
  return Buffer.concat([head, body]);
}

const denial = message("E", Buffer.from("SERROR\0VERROR\0C54000\0Mnot so\0\0"));

/** Whole messages, of those that have come; what is left. */
function eachMessage(bytes: Buffer, use: (type: string, whole: Buffer) => void): Buffer {
  let rest = bytes;
  while (rest.length >= 5 && rest.length > rest.readInt32BE(1)) {
    const end = 1 + rest.readInt32BE(1);
    use(String.fromCharCode(rest[0] ?? 0), rest.subarray(0, end));
    rest = rest.subarray(end);
  }
  return rest;
}

/** One connection through us. */
class Passage {
  #fate: Fate = "told";
  #toPeer: Buffer = Buffer.alloc(0);
  #toClient: Buffer = Buffer.alloc(0);
  #hasBegun = false;
  readonly #self: LyingPeer;
  readonly #client: Socket;
  readonly #peer: Socket;

  constructor(self: LyingPeer, client: Socket, peer: Socket) {
    this.#self = self;
    this.#client = client;
    this.#peer = peer;
  }

  fromClient(bytes: Buffer): void {
    if (!this.#hasBegun) {
      this.#hasBegun = !begin(this.#client, bytes);
      if (this.#hasBegun) this.#peer.write(bytes);
      return;
    }
    this.#toPeer = eachMessage(Buffer.concat([this.#toPeer, bytes]), (type, whole) => {
      if (type !== "Q") {
        this.#peer.write(whole);
        return;
      }
      const query = whole.subarray(5, -1).toString();
      this.#fate = this.#self.fate(query);
      const instead = this.#self.replace(query);
      if (this.#fate !== "silent")
        this.#peer.write(instead === query ? whole : message("Q", Buffer.from(`${instead}\0`)));
    });
  }

  fromPeer(bytes: Buffer): void {
    this.#toClient = eachMessage(Buffer.concat([this.#toClient, bytes]), (type, whole) => {
      if (this.#fate !== "told" && type !== "Z") return;
      if (this.#fate === "lost") this.#client.destroy();
      else this.#pass(type, whole);
    });
  }

  #pass(type: string, whole: Buffer): void {
    if (this.#fate === "denied") this.#client.write(denial);
    if (this.#self.noise.length > 0) this.#client.write(this.#self.noise);
    const isRow = type === "D";
    this.#client.write(
      isRow
        ? message(
            type,
            changed(whole.subarray(5), (text) => this.#self.lie(text)),
          )
        : whole,
    );
  }
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
  /** Which query the peer gets instead of one. */
  replace: (query: string) => string = (query) => query;
  /** What becomes of the answer to a query. */
  fate: (query: string) => Fate = () => "told";
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
      const passage = new Passage(self, client, peer);
      client.on("data", (bytes) => {
        if (!self.isReading) client.pause();
        passage.fromClient(bytes);
      });
      peer.on("data", (bytes) => passage.fromPeer(bytes));
      for (const [from, to] of [
        [client, peer],
        [peer, client],
      ] as const) {
        sockets.add(from);
        // each message is a packet, which must not wait for the last one to be acknowledged
        from.setNoDelay();
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
