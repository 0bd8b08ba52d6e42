import { inProject } from "./pg.ts";
import type { Server } from "./server.ts";

/** Functions in C that only tests call: test/module/, which `make test` builds. */
const functions = `
  create schema test_module;
  create function test_module.toc_to_directory(archive bytea, codec text) returns bytea
    language c volatile strict as '@LIBRARY@', 'toc_to_directory';
  create function test_module.toc_script(archive bytea, no_owner boolean, no_privileges boolean, sections text[], tables text[])
    returns setof text language c volatile strict as '@LIBRARY@', 'toc_script'`;

export async function createTestModule(server: Server, database: string): Promise<void> {
  const library = inProject("build/module/toc_module.so").replaceAll("'", "''");
  await server.query(functions.replaceAll("@LIBRARY@", library), [], { database });
}
