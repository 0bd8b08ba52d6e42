import { existsSync } from "node:fs";
import { join } from "node:path";
import { inProject, pgConfig } from "./pg.ts";

/** The JavaScript language that steep_repl's bundle runs in. */
export type Engine = "plv8" | "pljs";

const known: readonly Engine[] = ["plv8", "pljs"];

/** The engines that the tests' PostgreSQL has and that `make stage` was run for. */
export function engines(): Engine[] {
  return known.filter(
    (engine) =>
      existsSync(join(pgConfig("--sharedir"), "extension", `${engine}.control`)) &&
      existsSync(inProject("build/stage", engine, ".done")),
  );
}

/** The engine under test: STEEP_ENGINE (`make test` runs the tests once for each), else the first. */
export function engineUnderTest(): Engine {
  const asked = process.env.STEEP_ENGINE;
  const engine = asked ? known.find((name) => name === asked) : engines()[0];
  if (engine === undefined) {
    throw new Error(
      asked
        ? `STEEP_ENGINE=${asked}: it is plv8 or pljs`
        : "nothing is staged to test: run make stage",
    );
  }
  return engine;
}
