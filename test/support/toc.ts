/** A string of a table of contents; a Buffer where its bytes are no UTF-8. */
export type TocString = string | Buffer | null;

/** An entry of pg_dump's table of contents, in the order of its fields. */
export interface TocEntry {
  dumpId: number;
  hadDumper: number;
  tableoid: string;
  oid: string;
  tag: TocString;
  desc: TocString;
  section: number;
  defn: TocString;
  dropStmt: TocString;
  copyStmt: TocString;
  schema: TocString;
  tablespace: TocString;
  tableam: TocString;
  relkind: number;
  owner: TocString;
  dependencies: (number | string)[];
  filename: TocString;
}

export interface Toc {
  /** From the magic up to the number of entries. */
  header: Buffer;
  entries: TocEntry[];
}

/** Bytes before the header's numbers and strings: magic, version, sizes, format, compression. */
const fixedHeader = 5 + 3 + 2 + 1 + 1;
const headerInts = 7;
const headerStrings = 3;

class Reader {
  readonly #data: Buffer;
  position = fixedHeader;

  constructor(data: Buffer) {
    this.#data = data;
  }

  int(): number {
    const sign = this.#data.readUInt8(this.position);
    const magnitude = this.#data.readUInt32LE(this.position + 1);
    this.position += 5;
    return sign ? -magnitude : magnitude;
  }

  string(): string | null {
    const length = this.int();
    if (length < 0) return null;
    this.position += length;
    return this.#data.toString("utf8", this.position - length, this.position);
  }

  text(): string {
    return this.string() ?? "";
  }

  dependencies(): number[] {
    const found: number[] = [];
    for (let id = this.string(); id !== null; id = this.string()) found.push(Number(id));
    return found;
  }
}

function readEntry(reader: Reader): TocEntry {
  const entry = {
    dumpId: reader.int(),
    hadDumper: reader.int(),
    tableoid: reader.text(),
    oid: reader.text(),
    tag: reader.string(),
    desc: reader.string(),
    section: reader.int(),
    defn: reader.string(),
    dropStmt: reader.string(),
    copyStmt: reader.string(),
    schema: reader.string(),
    tablespace: reader.string(),
    tableam: reader.string(),
    relkind: reader.int(),
    owner: reader.string(),
  };
  reader.string(); // WITH OIDS: always false
  return { ...entry, dependencies: reader.dependencies(), filename: reader.string() };
}

/** Read a toc.dat of pg_dump 18. */
export function readToc(data: Buffer): Toc {
  const reader = new Reader(data);
  for (let i = 0; i < headerInts; i++) reader.int();
  for (let i = 0; i < headerStrings; i++) reader.string();
  const header = data.subarray(0, reader.position);
  const entries: TocEntry[] = [];
  for (let left = reader.int(); left > 0; left--) entries.push(readEntry(reader));
  if (reader.position !== data.length) throw new Error("toc.dat goes on after its last entry");
  return { header, entries };
}

function int(value: number): Buffer {
  const bytes = Buffer.alloc(5);
  bytes.writeUInt8(value < 0 ? 1 : 0, 0);
  bytes.writeUInt32LE(Math.abs(value), 1);
  return bytes;
}

function string(value: TocString): Buffer {
  if (value === null) return int(-1);
  const bytes = typeof value === "string" ? Buffer.from(value) : value;
  return Buffer.concat([int(bytes.length), bytes]);
}

function entryBytes(e: TocEntry): Buffer[] {
  return [
    int(e.dumpId),
    int(e.hadDumper),
    ...[e.tableoid, e.oid, e.tag, e.desc].map(string),
    int(e.section),
    ...[e.defn, e.dropStmt, e.copyStmt, e.schema, e.tablespace, e.tableam].map(string),
    int(e.relkind),
    ...[e.owner, "false", ...e.dependencies.map(String), null, e.filename].map(string),
  ];
}

/** The bytes of a toc.dat. */
export function writeToc(toc: Toc): Buffer {
  return Buffer.concat([toc.header, int(toc.entries.length), ...toc.entries.flatMap(entryBytes)]);
}
