import type pg from "pg";

/** How node-postgres runs what is no query of its own. */
interface Connection {
  query(text: string): void;
  sendCopyFromChunk(chunk: Buffer): void;
  endCopyFrom(): void;
}

/** One row of a COPY FROM STDIN in text format. No log of statements and no statistics of them have what it sends. */
class RowCopy {
  readonly #text: string;
  readonly #row: Buffer;
  readonly #onEnd: (error?: Error) => void;

  constructor(text: string, row: Buffer, onEnd: (error?: Error) => void) {
    this.#text = text;
    this.#row = row;
    this.#onEnd = onEnd;
  }

  submit(connection: Connection): void {
    connection.query(this.#text);
  }

  handleCopyInResponse(connection: Connection): void {
    connection.sendCopyFromChunk(this.#row);
    connection.endCopyFrom();
  }

  handleError(error: Error): void {
    this.#onEnd(error);
  }

  handleCommandComplete(): void {}

  handleReadyForQuery(): void {
    this.#onEnd();
  }
}

const escapes: Readonly<Record<string, string>> = {
  ...{ "\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t" },
};

/** Send a row of texts to `copy ... from stdin`. */
export function copyRow(
  client: pg.Client,
  text: string,
  values: readonly (string | null)[],
): Promise<void> {
  const fields = values.map((value) =>
    value === null ? "\\N" : value.replace(/[\\\n\r\t]/g, (c) => escapes[c] ?? c),
  );
  return new Promise((resolve, reject) => {
    const onEnd = (error?: Error) => (error === undefined ? resolve() : reject(error));
    const row = Buffer.from(`${fields.join("\t")}\n`, "utf8");
    client.query(new RowCopy(text, row, onEnd) as unknown as pg.Submittable);
  });
}
