/**
 * The only file that knows which engine runs us. PL/V8 and PL/JS agree on very
 * little; what both do right, and all that is used, is `execute` without
 * parameters, answering rows of text columns. PL/JS 1.0.5 does not initialize
 * whether a parameter is null: it depends on what was in memory before.
 */
interface Engine {
  execute(sql: string): readonly { readonly answer: string }[];
}

interface EngineGlobals {
  readonly plv8?: Engine;
  readonly pljs?: Engine;
}

function globals(): EngineGlobals {
  return globalThis as unknown as EngineGlobals;
}

/** `plv8` or `pljs`. */
export function engineName(): string {
  return globals().plv8 === undefined ? "pljs" : "plv8";
}

/** A literal of ASCII text, whatever standard_conforming_strings says. */
function literal(text: string): string {
  return `E'${text.replace(/['\\]/g, "$&$&")}'`;
}

/** Hand one string in ASCII to `steep_repl._sql`, and answer what it answers. */
export function callSql(request: string): string {
  const engine = globals().plv8 ?? globals().pljs;
  if (engine === undefined) {
    throw new Error("no JavaScript engine of PostgreSQL is running this");
  }
  const row = engine.execute(`select steep_repl._sql(${literal(request)}) as answer`)[0];
  if (row === undefined) {
    throw new Error("steep_repl._sql answered no row");
  }
  return row.answer;
}
