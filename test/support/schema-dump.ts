import { bin, run } from "./pg.ts";
import type { Server } from "./server.ts";

/*
 * What pg_dump prints of tables, as an independent judge.
 */

async function dump(
  server: Server,
  database: string,
  args: readonly string[] = [],
): Promise<string> {
  const { stdout } = await run(bin("pg_dump"), [
    ...["--schema-only", "--no-statistics", ...args, "-d", server.uri(database)],
  ]);
  return stdout;
}

const ofTables = ["-n", "s", "--no-owner", "--no-acl", "--no-comments", "--no-publications"];

const isOfTable =
  /^(CREATE (UNLOGGED )?TABLE|ALTER TABLE|CREATE (UNIQUE )?INDEX|ALTER INDEX|CREATE (CONSTRAINT )?TRIGGER|CREATE POLICY|CREATE RULE)/;

/** A key of a table. */
const key =
  /^ALTER TABLE ONLY (\S+)\s+ADD CONSTRAINT (\S+) ((?:PRIMARY KEY|UNIQUE|EXCLUDE)[\s\S]*)/;

/** Storage, what helps the planner, and sequences' own things count for no fingerprint. */
const isLeftOut =
  / SET (STORAGE|COMPRESSION|STATISTICS|\()| CLUSTER ON | ATTACH PARTITION s\._idx;$|^ALTER TABLE s\.\w+ OWNER/;

/** An array that is cast is printed in one way, and in another after what was printed was read again. */
function readAgain(statement: string): string {
  return statement.replace(/.*ARRAY\[.*/g, (line) =>
    line.replace(/::(?:"[^"]*"|[a-z_. ])+(?:\(\d+(?:,-?\d+)?\))?(?:\[\])?|[()]/g, ""),
  );
}

function withoutNames(statement: string): string {
  const plain = statement
    // that PostgreSQL made for partitions, in the order in which those of their parent were made
    .replace(/^(CREATE (?:UNIQUE )?INDEX) \w+_idx\d* /, "$1 _idx ")
    .replace(/ ATTACH PARTITION s\.\w+_idx\d*;$/, " ATTACH PARTITION s._idx;")
    .replace(/CONSTRAINT (\w+|"[^"]+") NOT NULL/g, "NOT NULL")
    .replace(/nextval\('[^']*'::regclass\)/g, "nextval(…)")
    .replace(/ AS IDENTITY \([^)]*\)/g, " AS IDENTITY")
    .replace(/\n?\s*WITH \([^)]*\)/g, "");
  return readAgain(plain);
}

/** A table's lines in one order: that of columns does not count. */
function sorted(statement: string): string {
  const lines = statement.split("\n").map((line) => line.replace(/,$/, "").trim());
  return /^CREATE (UNLOGGED )?TABLE/.test(statement) ? lines.sort().join("\n") : lines.join("\n");
}

function split(text: string): string[] {
  return text.split(/;\n/).map((statement) =>
    statement
      .split("\n")
      .filter((line) => !/^(--.*|\s*|\\.*)$/.test(line))
      .join("\n"),
  );
}

/** No query names an index, so one that a partition has of its parent's is told by that, whatever it is called; a key is not. */
function withoutNamesOfParts(all: readonly string[]): string[] {
  const keys = new Set(all.flatMap((statement) => key.exec(statement)?.[2] ?? []));
  const parts = all.flatMap((one) => / ATTACH PARTITION s\.(\S+);$/.exec(one)?.[1] ?? []);
  const indexes = new Set(parts.filter((name) => !keys.has(name)));
  return all.map((statement) =>
    statement
      .replace(/^(CREATE (?:UNIQUE )?INDEX) (\S+) /, (line, create, name) =>
        indexes.has(name) ? `${create} _idx ` : line,
      )
      .replace(/ ATTACH PARTITION s\.(\S+);$/, (line, name) =>
        indexes.has(name) ? " ATTACH PARTITION s._idx;" : line,
      ),
  );
}

function statements(text: string): string[] {
  const all = split(text).filter((statement) => isOfTable.test(statement));
  return withoutNamesOfParts(all.map((statement) => `${statement};`))
    .map(withoutNames)
    .filter((statement) => !isLeftOut.test(statement));
}

/**
 * A partition's key is attached to that of its parent by name. Where the parent has two of the same definition, nothing
 * but their names tells them apart: which of the partition's two belongs to which follows from the order in which they
 * were made, cannot be said in a statement but for new ones, and makes no difference to any row or query. So the
 * parent's is called by what it is.
 */
function withoutNamesOfParents(all: readonly string[]): string[] {
  const keys = new Map(
    all.flatMap((statement) => {
      const [, table, name, definition] = key.exec(statement) ?? [];
      return table === undefined
        ? []
        : [[`${table.split(".")[0]}.${name}`, `${table} ${definition}`]];
    }),
  );
  return all.map((statement) =>
    statement.replace(/^ALTER INDEX (\S+) ATTACH/, (line, name) =>
      keys.has(name) ? `ALTER INDEX ${keys.get(name)} ATTACH` : line,
    ),
  );
}

const inherits = /^CREATE (?:UNLOGGED )?TABLE (\S+) \([\s\S]*^INHERITS \(([^)]*)\)/m;

/** What a child has from its parents is printed only if it is its own as well, which does not count. */
function withoutInherited(all: readonly string[]): string[] {
  const children = all.flatMap((statement) => inherits.exec(statement)?.[1] ?? []);
  const isParents = (statement: string) =>
    children.some((child) =>
      new RegExp(
        `^ALTER TABLE (ONLY )?${child.replace(".", "\\.")}\\s+(ALTER COLUMN|ADD .*(CHECK|NOT NULL))`,
      ).test(statement),
    );
  return all
    .filter((statement) => !isParents(statement))
    .map((statement) => {
      const [, child, parents] = inherits.exec(statement) ?? [];
      return child === undefined
        ? statement
        : `${child} inherits ${(parents ?? "").split(", ").sort().join(", ")}`;
    });
}

/** Statements that one list has more often than the other. */
function differences(here: readonly string[], there: readonly string[]): string[] {
  const more = (of: readonly string[], than: readonly string[]) => {
    const rest = [...than];
    return of.filter((statement) => {
      const at = rest.indexOf(statement);
      if (at >= 0) rest.splice(at, 1);
      return at < 0;
    });
  };
  return [
    ...more(here, there).map((statement) => `here: ${statement}`),
    ...more(there, here).map((statement) => `there: ${statement}`),
  ];
}

/** How the tables of schema s differ, as pg_dump prints them, in what counts for fingerprints. */
export async function tableDifferences(server: Server, peer: Server): Promise<string[]> {
  const dumps = await Promise.all([server, peer].map((node) => dump(node, "app", ofTables)));
  const [here = [], there = []] = dumps.map((text) =>
    withoutNamesOfParents(withoutInherited(statements(text))).map(sorted),
  );
  return differences(here, there);
}

/** How two databases differ in anything that pg_dump prints, but the order. */
export async function databaseDifferences(
  server: Server,
  database: string,
  other: string,
): Promise<string[]> {
  const dumps = await Promise.all([database, other].map((name) => dump(server, name)));
  const [here = [], there = []] = dumps.map((text) => split(text).map(readAgain));
  return differences(here, there);
}
