import { afterEach, describe, expect, test } from "vitest";
import { engineName } from "../../../plv8/db/engine.ts";
import { type Json, query, queryOne } from "../../../plv8/db/sql.ts";
import { SteepError } from "../../../plv8/db/steep-error.ts";
import { bundleVersion } from "../../../plv8/db/version.ts";
import { dispatch } from "../../../plv8/main.ts";

/** One call of the engine's execute(), as it arrived. */
interface Call {
  readonly sql: unknown;
  readonly params: readonly unknown[];
}

type EngineName = "plv8" | "pljs";

const world = globalThis as unknown as { [engine in EngineName]?: unknown };

afterEach(() => {
  world.plv8 = undefined;
  world.pljs = undefined;
});

/** The string that a statement hands to `_sql`, read as PostgreSQL reads it. */
function requestIn(sql: unknown): string {
  const literal = /^select steep_repl\._sql\(E'((?:[^'\\]|''|\\\\)*)'\) as answer$/.exec(
    String(sql),
  );
  if (literal?.[1] === undefined) throw new Error(`not a call of _sql: ${sql}`);
  return literal[1].replaceAll("''", "'").replaceAll("\\\\", "\\");
}

/** Put an engine in place that answers each call of `_sql` with this text. */
function installEngine(answer: (request: string) => unknown, name: EngineName = "pljs"): Call[] {
  const calls: Call[] = [];
  world[name] = {
    execute(sql: unknown, ...params: readonly unknown[]) {
      calls.push({ sql, params });
      return [{ answer: answer(requestIn(sql)) }];
    },
  };
  return calls;
}

const rows = (...found: Json[]) => JSON.stringify({ rows: found });

function call(name: string, args: Json = {}, version = bundleVersion()) {
  const answer = dispatch(name, JSON.stringify({ version, args }));
  expect(typeof answer).toBe("string");
  return JSON.parse(answer);
}

describe.each(["plv8", "pljs"] as const)("a query on %s", (name) => {
  test("hands over one statement with one string in it, and no parameters", () => {
    const calls = installEngine(() => rows({ n: 1 }), name);
    expect(query("select 1 as n", { a: null, b: [1, "ü🐘\n"] })).toEqual([{ n: 1 }]);
    // PL/JS does not initialize whether a parameter is null
    expect(calls.map((call) => call.params)).toEqual([[]]);
    expect(requestIn(calls[0]?.sql)).toBe(
      String.raw`{"sql":"select 1 as n","params":{"a":null,"b":[1,"\u00fc\ud83d\udc18\n"]}}`,
    );
    expect(engineName()).toBe(name);
  });
});

test("nothing but ASCII crosses, whatever the values are", () => {
  const text = 'é\u0000\u0080ÿĀ\u2028\ud800🐘\uffff\\u00e9"';
  const calls = installEngine(() => rows());
  query("select $1 ->> 'a'", { a: text, [text]: 1 });
  expect(calls[0]?.sql).toMatch(/^[\x20-\x7e]*$/);
  expect(JSON.parse(requestIn(calls[0]?.sql)).params).toEqual({ a: text, [text]: 1 });

  const compression = `${text} `;
  const answer = dispatch(
    "start_snapshot",
    JSON.stringify({ version: bundleVersion(), args: { output_path: "/x", compression } }),
  );
  expect(answer).toMatch(/^[\x20-\x7e]*$/);
  expect(JSON.parse(answer).error.message).toBe(`unknown compression "${compression}"`);
});

test.each([
  "'; drop table t; --",
  "\\'; drop table t; --",
  "\\\\'",
  "''",
  "\\",
  "'\u0000\n'",
  "$1 $$ $& $' E'",
])("a value leaves the statement one literal: %j", (value) => {
  const calls = installEngine(() => rows());
  query("select $1 ->> 'name'", { name: value });
  expect(JSON.parse(requestIn(calls[0]?.sql))).toEqual({
    sql: "select $1 ->> 'name'",
    params: { name: value },
  });
});

test("where both engines are defined, PL/V8 is asked", () => {
  const other = installEngine(() => rows(), "pljs");
  const calls = installEngine(() => rows(), "plv8");
  query("select 1");
  expect([calls.length, other.length]).toEqual([1, 0]);
});

test("without params an empty object is sent, so that $1 is never null", () => {
  const calls = installEngine(() => rows());
  query("select 1");
  expect(JSON.parse(requestIn(calls[0]?.sql))).toEqual({ sql: "select 1", params: {} });
});

test("an error that comes back as data is a SteepError with everything SQL said", () => {
  const error = { sqlstate: "23505", message: "duplicate key", detail: "Key (a)=(1).", hint: "" };
  installEngine(() => JSON.stringify({ error }));
  try {
    query("select 1");
    expect.unreachable();
  } catch (e) {
    expect(e).toBeInstanceOf(SteepError);
    expect((e as SteepError).data).toEqual(error);
    expect((e as SteepError).message).toBe("duplicate key");
  }
});

test.each([[[]], [[{ n: 1 }, { n: 2 }]]])("queryOne refuses %j", (found) => {
  installEngine(() => rows(...found));
  expect(() => queryOne("select 1 as n")).toThrow(
    `expected one row, got ${found.length}: select 1 as n`,
  );
});

test("without an engine, or with one that answers nothing, a query says so", () => {
  expect(() => query("select 1")).toThrow("no JavaScript engine");
  world.pljs = { execute: () => [] };
  expect(() => query("select 1")).toThrow("answered no row");
});

describe("dispatch", () => {
  test("answers the version it was built as", () => {
    expect(call("version")).toEqual({ result: "1.2.3" });
  });

  test("refuses another version than its own, and says to reconnect", () => {
    expect(call("version", {}, "1.2.4")).toEqual({
      error: {
        sqlstate: "55000",
        message: "this session has loaded steep_repl 1.2.3, but the extension is 1.2.4",
        hint: "Reconnect.",
      },
    });
  });

  test("checks the version before the function", () => {
    expect(call("no_such_function", {}, "9").error.sqlstate).toBe("55000");
  });

  test.each(["no_such_function", "", "dispatch", "toString", "constructor", "__proto__"])(
    "has no function %j",
    (name) => {
      expect(call(name)).toMatchObject({
        error: { sqlstate: "XX000", message: `steep_repl: Error: no function ${name}` },
      });
    },
  );

  test.each(["", "null", "[]", "{", '"text"', "1", '{"args":{}}', '{"version":null}'])(
    "answers an error to the envelope %j",
    (envelope) => {
      const answer = JSON.parse(dispatch("version", envelope));
      expect(answer).toHaveProperty("error.sqlstate");
      expect(answer).not.toHaveProperty("result");
    },
  );

  test("answers a SteepError as it is", () => {
    expect(call("start_snapshot", { output_path: null })).toEqual({
      error: { sqlstate: "22023", message: "output_path must not be null or empty" },
    });
  });

  test("answers errors of SQL with their SQLSTATE, cancellation too", () => {
    for (const sqlstate of ["57014", "42501", "40P01"]) {
      installEngine(() => JSON.stringify({ error: { sqlstate, message: "m", hint: null } }));
      const node = { node_id: "a", node_name: "A", port: 1, priority: 1 };
      expect(call("register_node", node)).toEqual({
        error: { sqlstate, message: "m", hint: null },
      });
    }
  });

  test.each<[string, unknown]>([
    ["an error", new Error("engine broke")],
    ["a text", "engine broke"],
    ["null", null],
    ["undefined", undefined],
    ["a symbol", Symbol("engine broke")],
  ])("answers XX000 when an engine throws %s", (_, thrown) => {
    world.pljs = {
      execute() {
        throw thrown;
      },
    };
    const node = { node_id: "a", node_name: "A", port: 1, priority: 1 };
    expect(call("register_node", node)).toMatchObject({ error: { sqlstate: "XX000" } });
  });

  test("answers null, never nothing, where a function has no answer", () => {
    // past its last action the planner has none
    const params = { output_path: "/b/x", compression: "zstd", parallel: 2 };
    const request = { operation: "snapshot_generate", done: "complete", params, facts: {} };
    expect(call("next_action", request)).toEqual({ result: null });
  });
});

describe("health", () => {
  test("answers a row although its query fails", () => {
    installEngine(() =>
      JSON.stringify({ error: { sqlstate: "42P01", message: "relation is gone" } }),
    );
    expect(call("health").result).toMatchObject({
      status: "unhealthy",
      js_engine: "pljs",
      reasons: ["relation is gone"],
    });
  });

  test("lets a cancellation pass", () => {
    installEngine(() => JSON.stringify({ error: { sqlstate: "57014", message: "canceled" } }));
    expect(call("health")).toMatchObject({ error: { sqlstate: "57014" } });
  });
});

describe("next_action", () => {
  const params = { output_path: "/b/x", compression: "zstd", parallel: 2 };

  test("asks SQL for what the decision needs, with the job's checked parameters", () => {
    const calls = installEngine(() => rows({ unreadable: null, large_objects: "0" }));
    const request = { operation: "snapshot_generate", done: null, params, facts: {} };
    expect(call("next_action", request).result).toMatchObject({ kind: "create_directory" });
    expect(JSON.parse(requestIn(calls[0]?.sql)).params).toMatchObject({
      large_objects: "copy",
    });
  });

  test("asks no SQL where C left the facts", () => {
    const calls = installEngine(() => rows());
    const facts = { changed: "table public.t was changed", attempts: 2 };
    const request = { operation: "snapshot_generate", done: "lock", params, facts };
    expect(call("next_action", request).result).toEqual({
      kind: "pin",
      phase: "planning",
      slot_name: null,
    });
    expect(calls).toEqual([]);
  });

  test("checks parameters again: a role may queue rows by itself", () => {
    const request = {
      operation: "snapshot_generate",
      done: null,
      params: { ...params, parallel: 1000 },
      facts: {},
    };
    expect(call("next_action", request)).toMatchObject({ error: { sqlstate: "22023" } });
  });

  test("refuses an operation that it has no planner for", () => {
    const request = { operation: "teleport", done: null, params, facts: {} };
    expect(call("next_action", request)).toMatchObject({
      error: { sqlstate: "XX000", message: "steep_repl: Error: no planner for operation teleport" },
    });
  });

  test.each([null, [], 1, {}])("answers an error to the request %j", (request) => {
    expect(call("next_action", request as Json)).toHaveProperty("error.sqlstate");
  });
});
