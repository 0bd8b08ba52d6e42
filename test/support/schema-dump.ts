import { bin, run } from "./pg.ts";
import type { Server } from "./server.ts";

/*
 * What pg_dump prints of the tables of schema s, without what counts for no fingerprint: an independent judge of it.
 */

async function dump(server: Server): Promise<string> {
  const args = ["--schema-only", "-n", "s", "--no-owner", "--no-acl", "--no-comments"];
  const { stdout } = await run(bin("pg_dump"), [
    ...args,
    ...["--no-publications", "--no-statistics", "-d", server.uri("app")],
  ]);
  return stdout;
}

const isOfTable =
  /^(CREATE (UNLOGGED )?TABLE|ALTER TABLE|CREATE (UNIQUE )?INDEX|ALTER INDEX|CREATE (CONSTRAINT )?TRIGGER|CREATE POLICY|CREATE RULE)/;

/** Storage, what helps the planner, and sequences' own things. */
const isLeftOut =
  / SET (STORAGE|COMPRESSION|STATISTICS|\()| CLUSTER ON | ATTACH PARTITION s\.\S+_idx\d*;$|^ALTER TABLE s\.\w+ OWNER/;

function withoutNames(statement: string): string {
  return (
    statement
      .replace(/CONSTRAINT (\w+|"[^"]+") NOT NULL/g, "NOT NULL")
      .replace(/nextval\('[^']*'::regclass\)/g, "nextval(…)")
      .replace(/ AS IDENTITY \([^)]*\)/g, " AS IDENTITY")
      // printed in one way, and in another after what was printed was read again
      .replace(/.*= ANY \(.*ARRAY.*/g, (line) =>
        line.replace(/::(text|character varying)(\[\])?|[()]/g, ""),
      )
      .replace(/\n?\s*WITH \([^)]*\)/g, "")
  );
}

/** A table's lines in one order: that of columns does not count. */
function sorted(statement: string): string {
  const lines = statement.split("\n").map((line) => line.replace(/,$/, "").trim());
  return /^CREATE (UNLOGGED )?TABLE/.test(statement) ? lines.sort().join("\n") : lines.join("\n");
}

function statements(text: string): string[] {
  return text
    .split(/;\n/)
    .map((statement) => statement.replace(/^(--.*|\s*)$/gm, "").trim())
    .filter((statement) => isOfTable.test(statement))
    .map((statement) => `${statement};`)
    .filter((statement) => !isLeftOut.test(statement))
    .map(withoutNames);
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

/** Statements that one side's dump has more often than the other's. */
export async function sameDump(server: Server, peer: Server): Promise<string[]> {
  const [here, there] = (await Promise.all([dump(server), dump(peer)])).map((text) =>
    withoutInherited(statements(text)).map(sorted),
  ) as [string[], string[]];
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
