import { readdirSync } from "node:fs";
import vm from "node:vm";
import { transform } from "esbuild";
import { beforeAll, describe, expect, test } from "vitest";
import { publicFunctions } from "../../../plv8/api/index.ts";
import type { PublicFunction } from "../../../plv8/api/public-function.ts";
import { bundle, bundleSql } from "../../../plv8/build/bundle-sql.ts";
import { extensionScript } from "../../../plv8/build/extension-script.ts";
import { functionSql } from "../../../plv8/build/function-sql.ts";
import {
  commentFiles,
  scriptEnds,
  sqlAfter,
  sqlBefore,
  sqlEnd,
} from "../../../plv8/build/sql-files.ts";
import { inProject } from "../../support/pg.ts";

const engines = ["plv8", "pljs"] as const;
const version = "1.2.3";
const pinned = "set search_path = pg_catalog, pg_temp";

function publicFunction(changes: Partial<PublicFunction>): PublicFunction {
  return {
    name: "greet",
    args: [{ name: "who", type: "text" }],
    returns: { kind: "jsonb" },
    volatility: "volatile",
    run: () => null,
    ...changes,
  };
}

describe("functionSql", () => {
  test("makes a typed wrapper that hands arguments over by name", () => {
    expect(functionSql(publicFunction({}))).toBe(`create function steep_repl.greet(
  who text)
returns jsonb
language plpgsql volatile parallel unsafe set search_path = pg_catalog, pg_temp set row_security = on as $fn$
#variable_conflict use_column
declare
  answer jsonb;
begin
  answer := steep_repl._call('greet', jsonb_build_object('who', greet.who));
  return answer;
end
$fn$;
`);
  });

  test("fetches a row by its key: no row passes through JavaScript", () => {
    const sql = functionSql(
      publicFunction({ returns: { kind: "row", table: "nodes", key: "node_id" } }),
    );
    expect(sql).toContain("returns steep_repl.nodes\n");
    expect(sql).toContain("result steep_repl.nodes;");
    expect(sql).toContain(
      "select r.* into result from steep_repl.nodes r where r.node_id = answer ->> 'node_id'",
    );
  });

  test("spreads a record into the columns that it declares", () => {
    const sql = functionSql(
      publicFunction({
        returns: {
          kind: "record",
          columns: [
            ["n", "bigint"],
            ["names", "text[]"],
          ],
        },
      }),
    );
    expect(sql).toContain("returns table (n bigint, names text[])");
    expect(sql).toContain("jsonb_to_record(answer) as r(n bigint, names text[])");
  });

  test("spreads an array of records into rows", () => {
    const sql = functionSql(
      publicFunction({ returns: { kind: "rows", columns: [["name", "text"]] } }),
    );
    expect(sql).toContain("returns table (name text)");
    expect(sql).toContain("jsonb_to_recordset(answer) as r(name text)");
  });

  test("writes defaults as SQL, and none where an argument is required", () => {
    const sql = functionSql(
      publicFunction({
        args: [
          { name: "path", type: "text" },
          { name: "codec", type: "text", default: "'zstd'" },
          { name: "level", type: "int", default: "null" },
        ],
      }),
    );
    expect(sql).toContain(
      "(\n  path text,\n  codec text default 'zstd',\n  level int default null)",
    );
  });

  test("takes no arguments where none are declared", () => {
    const sql = functionSql(publicFunction({ args: [] }));
    expect(sql).toContain("create function steep_repl.greet()\n");
    expect(sql).toContain("jsonb_build_object())");
  });

  test("keeps the declared volatility", () => {
    expect(functionSql(publicFunction({ volatility: "stable" }))).toContain(
      "language plpgsql stable parallel unsafe",
    );
  });
});

describe("the bundle", () => {
  let script: string;
  beforeAll(async () => {
    script = await bundle(version);
  });

  test.each([
    ["calls of other functions", /find_function/],
    ["subtransactions", /subtransaction/],
    ["cursors and prepared statements", /\.(prepare|cursor)\(/],
    ["elog, which would end JavaScript midway", /\belog\b/],
    ["Intl", /\bIntl\b/],
    ["WebAssembly", /\bWebAssembly\b/],
    ["console", /\bconsole\b/],
    ["timers", /\b(setTimeout|setInterval|queueMicrotask)\b/],
    ["promises", /\b(Promise|async|await)\b/],
    ["dates", /\bnew Date\b|\bDate\./],
    ["bigints", /\bBigInt\b|\b\d+n\b/],
    ["web APIs", /\b(TextEncoder|crypto|URL|structuredClone|require|process)\b|\bfetch\(/],
    ["code from text", /\beval\(|new Function\b/],
    ["bytes that are not ASCII", /[^\n\x20-\x7e]/],
    ["texts that some databases cannot hold", /(?<![[-])\\u(?!\$)|\\x[89a-f]/i],
  ])("has no %s", (_, forbidden) => {
    const lines = script.split("\n").filter((line) => forbidden.test(line));
    expect(lines).toEqual([]);
  });

  test("uses no syntax beyond ES2020", async () => {
    const options = { charset: "ascii", legalComments: "none" } as const;
    const lowered = await transform(script, { ...options, target: "es2020" });
    const untouched = await transform(script, { ...options, target: "esnext" });
    expect(lowered.code).toBe(untouched.code);
  });

  test.each(engines)("runs where nothing but %s is defined", (engine) => {
    const answer = evaluate(bundleSql(script, engine, version), engine);
    expect(answer("version", {})).toEqual({ result: version });
    expect(answer("no_such_function", {})).toMatchObject({ error: { sqlstate: "XX000" } });
    expect(answer("health", {})).toMatchObject({ result: { js_engine: engine } });
    expect(answer("start_snapshot", {})).toMatchObject({ error: { sqlstate: "22023" } });
    const params = { output_path: "/b/x", compression: "zstd", parallel: 2 };
    const request = { operation: "snapshot_generate", done: "pin", params, facts: {} };
    expect(answer("next_action", request)).toMatchObject({ result: { kind: "plan" } });
  });

  test("is loaded again when the session's globals were wiped, and otherwise kept", () => {
    const context = bareContext("pljs");
    const call = asFunction(bundleSql(script, "pljs", version), context);
    const loaded = () => vm.runInContext("globalThis.steepRepl", context);
    const envelope = JSON.stringify({ version, args: {} });
    call("version", envelope);
    const first = loaded();
    call("version", envelope);
    expect(loaded()).toBe(first);
    vm.runInContext("delete globalThis.steepRepl", context);
    call("version", envelope);
    expect(loaded()).not.toBe(first);
  });

  test("is loaded again after an update, in place of the old one", async () => {
    const context = bareContext("plv8");
    const old = asFunction(bundleSql(script, "plv8", version), context);
    old("version", JSON.stringify({ version, args: {} }));
    const updated = asFunction(bundleSql(await bundle("1.2.4"), "plv8", "1.2.4"), context);
    expect(updated("version", JSON.stringify({ version: "1.2.4", args: {} }))).toBe(
      '{"result":"1.2.4"}',
    );
  });

  test("that would end its own quotation is refused", () => {
    expect(() => bundleSql("x = '$steep_repl_bundle$'", "pljs", version)).toThrow(
      "the bundle contains",
    );
  });
});

/** A context with the language and an engine only, and of the language what ES2020 has. */
function bareContext(engine: string): vm.Context {
  const context = vm.createContext({
    [engine]: {
      execute: () => [
        { answer: '{"rows":[{"replication":{"subscriptions":[],"slots":[],"limits":{}}}]}' },
      ],
    },
  });
  vm.runInContext(
    `for (const name of ["Intl", "WebAssembly", "console", "SharedArrayBuffer", "Atomics"]) delete globalThis[name];
     delete String.prototype.replaceAll; delete String.prototype.at; delete Array.prototype.at;
     delete Array.prototype.toSorted; delete Array.prototype.findLast; delete Object.hasOwn;
     delete Object.groupBy; delete Promise.any; delete globalThis.WeakRef;`,
    context,
  );
  return context;
}

type JsFunction = (fn: string, args: string) => string;

/** The body of the SQL function, as the engines wrap it. */
function asFunction(sql: string, context: vm.Context): JsFunction {
  const body = sql.split("$steep_repl_bundle$")[1];
  return vm.runInContext(`(function (fn, args) {${body}})`, context) as JsFunction;
}

function evaluate(sql: string, engine: string) {
  const call = asFunction(sql, bareContext(engine));
  return (fn: string, args: unknown) => {
    const answer = call(fn, JSON.stringify({ version, args }));
    expect(typeof answer).toBe("string");
    return JSON.parse(answer) as unknown;
  };
}

describe.each(engines)("the extension's script for %s", (engine) => {
  let script: string;
  let headers: readonly string[];
  beforeAll(async () => {
    script = await extensionScript(engine, version);
    headers = [
      ...script.matchAll(/^create function [\s\S]*?(?=\sas [$']|\nreturn |\nbegin )/gm),
    ].map((match) => match[0]);
  });

  /** Without the bodies of functions. */
  const statements = () => script.replace(/(\$\w+\$)[\s\S]*?\1/g, "''");

  test("stops psql from running it by hand", () => {
    expect(script).toMatch(/^\\echo Use "CREATE EXTENSION steep_repl CASCADE"/);
  });

  test.each([
    ["create or replace", /create\s+or\s+replace/i],
    ["if not exists", /\bcreate\b[^;(]*\bif\s+not\s+exists\b/i],
    ["security definer", /security\s+definer/i],
    ["a placeholder", /@[A-Z]+@/],
    ["a grant", /^\s*(grant|revoke)\b/im],
    ["a byte that is not ASCII, since no encoding is declared", /[^\n\x20-\x7e]/],
  ])("has no %s", (_, forbidden) => {
    expect(script).not.toMatch(forbidden);
  });

  test("has every function's header found by the checks below", () => {
    expect(headers.length).toBe(script.match(/create\s+function/gi)?.length);
    expect(headers.length).toBeGreaterThan(publicFunctions.length + 10);
  });

  test("pins the search path of every function that is not in C", () => {
    const loose = headers.filter((h) => !/language c /.test(h) && !h.includes(pinned));
    expect(loose).toEqual([]);
  });

  test("makes nothing parallel safe", () => {
    expect(headers.filter((h) => !h.includes("parallel unsafe"))).toEqual([]);
  });

  test("creates everything in its own schema", () => {
    const created = [
      ...statements().matchAll(
        /^create\s+(?:unlogged\s+)?(table|view|function|type|sequence)\s+(\S+)/gim,
      ),
    ].map((match) => match[2]);
    expect(created.length).toBeGreaterThan(20);
    expect(created.filter((name) => !name?.startsWith("steep_repl."))).toEqual([]);
  });

  test("comments on every function, and says which are private", () => {
    for (const header of headers) {
      const name = /^create function steep_repl\.(\w+)/.exec(header)?.[1] ?? "";
      const comment = new RegExp(
        `^comment on function steep_repl\\.${name}\\(.*\\) is '(.*)';$`,
        "m",
      );
      const text = comment.exec(script)?.[1];
      expect(text, name).toBeTruthy();
      expect(text?.startsWith("private"), name).toBe(name.startsWith("_"));
    }
  });

  test("reads the same whatever standard_conforming_strings is", () => {
    const lines = script
      .replace(/\$steep_repl_bundle\$[\s\S]*?\$steep_repl_bundle\$/, "")
      .split("\n")
      .filter((line) => line.includes("\\") && !/^\\echo /.test(line) && !/\be'/i.test(line));
    expect(lines).toEqual([]);
  });

  test("declares just one JavaScript function", () => {
    expect(headers.filter((h) => h.includes(`language ${engine} `))).toHaveLength(1);
    expect(script).not.toContain(`language ${engine === "plv8" ? "pljs" : "plv8"}`);
  });
});

test("every file of sql/ is in the extension's script, once", () => {
  const files = readdirSync(inProject("sql"), { recursive: true, encoding: "utf8" })
    .filter((file) => file.endsWith(".sql") && !file.startsWith("upgrade"))
    .sort();
  const ends = Object.values(scriptEnds).flatMap(({ before, after }) => [...before, ...after]);
  expect(
    [...ends, ...sqlBefore, ...sqlAfter, ...Object.keys(commentFiles), ...sqlEnd].sort(),
  ).toEqual(files);
});
