/** An entry of an archive's table of contents, as far as people want to see it. */
export interface TocEntry {
  readonly dump_id: number;
  readonly section: string;
  readonly type: string;
  readonly schema: string | null;
  readonly name: string;
  readonly owner: string | null;
  readonly file: string | null;
}

/** The archive cannot be read; why. */
export class TocError extends Error {}

const sections = ["", "", "pre-data", "data", "post-data"];

/** Reads what pg_dump writes, one value after the other. */
class TocReader {
  readonly #bytes: Buffer;
  #at = 0;

  constructor(bytes: Buffer) {
    this.#bytes = bytes;
  }

  bytes(length: number): Buffer {
    if (length > this.#bytes.length - this.#at) throw new TocError("truncated");
    this.#at += length;
    return this.#bytes.subarray(this.#at - length, this.#at);
  }

  byte(): number {
    return this.bytes(1)[0] ?? 0;
  }

  int(): number {
    const sign = this.byte();
    const magnitude = this.bytes(4).readUInt32LE();
    return sign === 0 ? magnitude : -magnitude;
  }

  /** A length of -1 says that there is none. */
  text(): string | null {
    const length = this.int();
    if (length < -1) throw new TocError("negative length");
    return length === -1 ? null : this.bytes(length).toString();
  }

  skipTexts(n: number): void {
    for (let i = 0; i < n; i++) this.text();
  }

  get isAtEnd(): boolean {
    return this.#at === this.#bytes.length;
  }
}

function readHeader(reader: TocReader): void {
  if (reader.bytes(5).toString("latin1") !== "PGDMP")
    throw new TocError("not an archive of pg_dump");
  const [major, minor] = [reader.byte(), reader.byte()];
  reader.byte();
  if (major !== 1 || minor !== 16)
    throw new TocError(`archive version ${major}.${minor} is not supported`);
  const [intSize, offsetSize, format] = [reader.byte(), reader.byte(), reader.byte()];
  if (intSize !== 4 || offsetSize !== 8 || format !== 3)
    throw new TocError("not an archive in a directory");
  reader.byte(); // compression
  for (let i = 0; i < 7; i++) reader.int(); // when it was made
  reader.skipTexts(3); // database, versions
}

function readEntry(reader: TocReader): TocEntry {
  const dump_id = reader.int();
  reader.int(); // whether it has data
  reader.skipTexts(2); // of the catalog
  const name = reader.text() ?? "";
  const type = reader.text() ?? "";
  const section = sections[reader.int()] ?? "";
  reader.skipTexts(3); // statements
  const schema = reader.text();
  reader.skipTexts(2); // tablespace, access method
  reader.int(); // kind of relation
  const owner = reader.text();
  reader.text(); // WITH OIDS
  while (reader.text() !== null); // dependencies
  const file = reader.text();
  return {
    dump_id,
    section,
    type,
    schema: schema || null,
    name,
    owner: owner || null,
    file: file || null,
  };
}

/**
 * The entries of a toc.dat, as bgworker-c/toc/toc_read.c has its format.
 *
 * @throws TocError where it is none
 */
export function parseToc(bytes: Buffer): readonly TocEntry[] {
  const reader = new TocReader(bytes);
  readHeader(reader);
  const count = reader.int();
  if (count < 0 || count > bytes.length) throw new TocError("invalid number of entries");
  const entries = Array.from({ length: count }, () => readEntry(reader));
  if (!reader.isAtEnd) throw new TocError("unexpected data after the last entry");
  return entries;
}
