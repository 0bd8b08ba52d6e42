import pg from "pg";
import { CliError, exitCode } from "../cli-error.ts";
import type { Session } from "../session.ts";

/** A run of a file's bytes. */
export interface Piece {
  readonly offset: number;
  readonly length: number;
}

const headerBytes = 19;

const wrong = (what: string) =>
  new CliError(exitCode.failed, what, "see what is wrong with it on the server: snapshot verify");

/** How node-postgres runs what is no query of its own. */
interface Connection {
  query(text: string): void;
}

/**
 * The answer to a COPY in binary of one bytea in each row: bytes cross as they are, which node-postgres' own results
 * do not. Each row comes as soon as it is there, one after the other.
 */
class BinaryCopy {
  readonly #text: string;
  readonly #onRow: (bytes: Buffer) => void;
  readonly #onEnd: (error?: Error) => void;
  #hasBegun = false;
  #error: Error | undefined;

  constructor(text: string, onRow: (bytes: Buffer) => void, onEnd: (error?: Error) => void) {
    this.#text = text;
    this.#onRow = onRow;
    this.#onEnd = onEnd;
  }

  submit(connection: Connection): void {
    connection.query(this.#text);
  }

  handleCopyData({ chunk }: { readonly chunk: Buffer }): void {
    if (this.#error) return;
    // the first row comes with the header, and the last message has no row
    const row = this.#hasBegun ? chunk : chunk.subarray(headerBytes);
    this.#hasBegun = true;
    if (row.length < 2 || row.readInt16BE(0) === -1) return;
    try {
      if (row.readInt16BE(0) !== 1 || row.length < 6 || row.readInt32BE(2) !== row.length - 6)
        throw wrong("the server's answer is not pieces of a file");
      this.#onRow(row.subarray(6));
    } catch (error) {
      this.#error = error as Error;
    }
  }

  handleError(error: Error): void {
    this.#onEnd(error);
  }

  handleCommandComplete(): void {}

  handleReadyForQuery(): void {
    this.#onEnd(this.#error);
  }
}

/** Ask for pieces of a file of a snapshot, and have each one handed over, in their order. */
export function readPieces(
  session: Session,
  path: string,
  file: string,
  pieces: readonly Piece[],
  onPiece: (bytes: Buffer, piece: Piece) => void,
): Promise<void> {
  const { escapeLiteral } = pg;
  const list = (values: readonly number[]) => values.join(",");
  const text = `copy (
    select steep_repl._snapshot_piece(${escapeLiteral(path)}, ${escapeLiteral(file)}, p.start, p.length)
    from rows from (pg_catalog.unnest('{${list(pieces.map((p) => p.offset))}}'::int8[]),
                    pg_catalog.unnest('{${list(pieces.map((p) => p.length))}}'::int4[])) p(start, length)
    ) to stdout (format binary)`;
  return new Promise((resolve, reject) => {
    let n = 0;
    const onRow = (bytes: Buffer) => {
      const piece = pieces[n++];
      if (!piece || bytes.length !== piece.length)
        throw wrong("a piece of a file has another length than was asked for");
      onPiece(bytes, piece);
    };
    const onEnd = (error?: Error) => {
      if (error) reject(error);
      else if (n === pieces.length) resolve();
      else reject(wrong("the server left pieces out"));
    };
    session.client.query(new BinaryCopy(text, onRow, onEnd) as unknown as pg.Submittable);
  });
}

/** The pieces of a run of bytes. */
export function piecesOf(offset: number, length: number, pieceBytes: number): Piece[] {
  const pieces: Piece[] = [];
  for (let at = 0; at < length; at += pieceBytes)
    pieces.push({ offset: offset + at, length: Math.min(pieceBytes, length - at) });
  return pieces;
}
