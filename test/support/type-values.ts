import type { PgNode } from "./node.ts";

/**
 * Edge values of every built-in type, as its input function takes them. A type
 * that PostgreSQL has and this does not name fails the test that uses it.
 */
export const builtinValues: Readonly<Record<string, readonly string[]>> = {
  // numbers
  bool: ["t", "f"],
  int2: ["0", "-1", "-32768", "32767"],
  int4: ["0", "-1", "-2147483648", "2147483647"],
  int8: ["0", "9007199254740993", "-9223372036854775808", "9223372036854775807"],
  float4: ["0", "-0", "NaN", "Infinity", "-Infinity", "0.1", "1.17549e-38", "-3.4028235e+38"],
  float8: [
    ...["0", "-0", "NaN", "Infinity", "-Infinity", "0.1", "0.30000000000000004"],
    ...["5e-324", "1.7976931348623157e+308", "-123456789.12345679"],
  ],
  numeric: [
    ...["0", "-0.00", "1.50", "NaN", "Infinity", "-Infinity", "1e-1000"],
    "9".repeat(1000),
    `-0.${"0".repeat(999)}1`,
    `${"7".repeat(131_072)}.${"3".repeat(16_383)}`,
  ],
  money: ["0", "-92233720368547758.08", "92233720368547758.07", "0.01"],
  oid: ["0", "1", "4294967295"],
  xid: ["0", "3", "4294967295"],
  xid8: ["0", "18446744073709551615"],
  cid: ["0", "4294967295"],
  tid: ["(0,0)", "(4294967295,65535)"],
  // text
  text: [
    ...["", " ", "\\N", "\\.", "\\", "\\\\", "\\x41", "\\101", "\t", "\n", "\r", "\r\n", "\v\f\b"],
    ...["a\tb\nc\\d\re", "\\.\n", "\n\\.\n\n\n", "NULL", '"', "'", "$1", "{}", ","],
    ...["ä€🐘", "e\u0301", "\u0001\u007f", "\u2028", "\uffff", "x".repeat(1_000_000)],
  ],
  varchar: ["", "trailing  ", "\\N", "🐘"],
  bpchar: ["", "trailing  ", " \t", "ä"],
  char: ["", "a", "\\", "\\200", "\\377", "\t", "\n"],
  name: ["", "x".repeat(63), 'a"b\\c', "ä".repeat(31)],
  bytea: ["", "\\x", "\\x00", "\\x5c", "\\xdeadbeef00ff", `\\x${"00ff5c0a09".repeat(1000)}`],
  bit: ["0", "1"],
  varbit: ["", "0", "101", "1".repeat(1001)],
  uuid: ["00000000-0000-0000-0000-000000000000", "ffffffff-ffff-ffff-ffff-ffffffffffff"],
  xml: ["<a/>", '<a b="\\N">&lt;\n\t</a>', "text only", "<!-- c --><a>ä</a>"],
  json: ['{"a":1,"a":2}', ' {"z" : 1.00, "b":\n[]} ', '"\\u00e4\\n"', "null", "1e400"],
  jsonb: ['{"a":1,"a":2}', "1.00", '"\\u00e4\\n\\\\"', "null", `${"9".repeat(400)}.5`],
  jsonpath: ["$", 'strict $."a b"[*] ? (@ > 1 && @ starts with "\\"x")', "$.**{2 to last}"],
  tsvector: ["", "a fat:2A cat:3", "'it''s':1 'a\\\\b' ' '", "x:16383"],
  tsquery: ["", "!fat & (cat:*A | rat) <-> x", "'it''s' <3> ' '"],
  // time
  date: ["infinity", "-infinity", "4713-01-01 BC", "5874897-12-31", "2000-02-29", "0001-12-31 BC"],
  time: ["00:00:00", "24:00:00", "23:59:59.999999"],
  timetz: ["00:00:00+15:59:59", "24:00:00-15:59", "12:30:00.5+05:45"],
  timestamp: [
    ...["infinity", "-infinity", "4713-01-01 00:00:00 BC", "294276-12-31 23:59:59.999999"],
    ...["2024-02-29 24:00:00", "1999-01-08 04:05:06.789"],
  ],
  timestamptz: [
    ...["infinity", "-infinity", "4714-11-24 00:00:00+00 BC", "294276-12-31 23:59:59.999999+00"],
    ...["1880-01-01 00:00:00+00", "2024-03-31 01:30:00+00", "2024-10-27 00:30:00.000001+00"],
  ],
  interval: [
    ...["infinity", "-infinity", "0", "1 mon -1 day", "-1 mon +1 day", "24:00:00", "1 day"],
    ...["-1 year -2 mons +3 days -04:05:06.789", "178000000 years", "-2562047788:00:54.77"],
  ],
  // networks
  inet: ["0.0.0.0/0", "192.168.1.5/24", "::", "::ffff:1.2.3.4/128", "fe80::1/10"],
  cidr: ["0.0.0.0/0", "10.0.0.0/8", "2001:db8::/32"],
  macaddr: ["00:00:00:00:00:00", "ff:ff:ff:ff:ff:ff"],
  macaddr8: ["08:00:2b:01:02:03:04:05", "ff:ff:ff:ff:ff:ff:ff:ff"],
  // geometry
  point: ["(0,-0)", "(NaN,Infinity)", "(0.1,1e-300)"],
  line: ["{1,-1,0}", "{0.1,0,-3e300}"],
  lseg: ["[(0,0),(1,1)]", "[(-Infinity,0.1),(NaN,2)]"],
  box: ["(1,1),(0,0)", "(Infinity,0.1),(-Infinity,-1)"],
  path: ["[(0,0)]", "((0,0),(1,1),(0.1,2))"],
  polygon: ["((0,0))", "((0,0),(1,1),(2,0.1))"],
  circle: ["<(0,0),0>", "<(0.1,-2),Infinity>"],
  // ranges
  int4range: ["empty", "(,)", "[1,5)", "[-2147483648,2147483647)"],
  int8range: ["empty", "(,5)", "[9007199254740993,)"],
  numrange: ["empty", "[1.50,2.5]", "(-Infinity,NaN]"],
  daterange: ["empty", "[2000-01-01,infinity)", "(,2000-01-01)"],
  tsrange: ["empty", '["2000-01-01 00:00:00",infinity]', '(,"0001-01-01 00:00:00 BC")'],
  tstzrange: ["empty", '["2000-01-01 00:00:00+05:45",)', "[-infinity,infinity]"],
  int4multirange: ["{}", "{[1,5),[7,9)}", "{(,)}"],
  int8multirange: ["{}", "{(,5),[9007199254740993,)}"],
  nummultirange: ["{}", "{[1.50,2.5],(3,Infinity)}"],
  datemultirange: ["{}", "{[2000-01-01,2000-02-01),[2001-01-01,infinity)}"],
  tsmultirange: ["{}", '{["2000-01-01 00:00:00","2000-01-02 00:00:00")}'],
  tstzmultirange: ["{}", '{["2000-01-01 00:00:00+05:45",)}'],
  // the server's own
  pg_lsn: ["0/0", "FFFFFFFF/FFFFFFFF"],
  pg_snapshot: ["10:20:10,14,15", "1:1:"],
  txid_snapshot: ["10:20:10,14,15", "1:1:"],
  int2vector: ["", "1 -2 3"],
  oidvector: ["", "1 4294967295"],
  aclitem: ["postgres=arwdDxtm/postgres", "=r*/postgres"],
  refcursor: ["", 'a "b" \\'],
  regproc: ["-", "now", "4294967295"],
  regprocedure: ["-", "lower(text)"],
  regoper: ["0", "pg_catalog.||/"],
  regoperator: ["0", "+(integer,integer)"],
  regclass: ["-", "pg_class", "4294967295"],
  regcollation: ["-", '"C"'],
  regtype: ["-", "integer[]", "timestamp with time zone"],
  regconfig: ["-", "simple"],
  regdictionary: ["-", "simple"],
  regrole: ["-", "postgres", "4294967295"],
  regnamespace: ["-", "pg_catalog"],
};

/** Likewise of types that are new in PostgreSQL 19. */
const newerValues: typeof builtinValues = {
  oid8: ["0", "1", "18446744073709551615"],
  regdatabase: ["-", "postgres", "4294967295"],
};

/** Edge values of every built-in type that this server has. */
export async function builtinValuesOf(node: Pick<PgNode, "query">): Promise<typeof builtinValues> {
  const rows = await node.query<{ name: string }>(
    "select typname as name from pg_type where typname = any ($1) and typnamespace = 'pg_catalog'::regnamespace",
    [Object.keys(newerValues)],
  );
  const newer = rows.map(({ name }) => [name, newerValues[name] ?? []] as const);
  return { ...builtinValues, ...Object.fromEntries(newer) };
}

/** Types of which no value can be made: their input functions only raise errors. */
export const typesWithoutInput: readonly string[] = [
  "gtsvector",
  "pg_brin_bloom_summary",
  "pg_brin_minmax_multi_summary",
  "pg_dependencies",
  "pg_mcv_list",
  "pg_ndistinct",
  "pg_node_tree",
];

/** Types of extensions that come with PostgreSQL; those that are not there are left out. */
export const contribValues: Readonly<Record<string, readonly string[]>> = {
  hstore: ["", '"a"=>NULL, "b"=>"NULL"', '"\\"q\\"\\\\"=>"\n\t"'],
  citext: ["", "MiXeD", "\\N"],
  ltree: ["", "Top.a_1.B-2"],
  cube: ["(0.1,-0)", "(1,2),(3,4)", "()"],
  seg: ["1.50", "<0.1 .. >2.00", "5.0e-3 .."],
};
