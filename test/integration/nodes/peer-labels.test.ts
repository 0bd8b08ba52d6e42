import { afterAll, beforeAll, expect, test } from "vitest";
import { createRandom, type Random } from "../../support/random.ts";
import { type Server, startServer } from "../../support/server.ts";

/*
 * By its label a peer is shown, and known again. No password may be in it, and two strings that libpq would connect to
 * different places must not have the same.
 */

let server: Server;
beforeAll(async () => {
  server = await startServer({ name: "peer-labels", preload: false });
  await server.query("create extension steep_repl cascade");
});
afterAll(() => server.destroy());

async function labelsOf(peers: readonly string[]): Promise<string[]> {
  const found = await server.query<{ label: string }>(
    "select steep_repl._peer_label(p.p) as label from unnest($1::text[]) with ordinality p(p, n) order by n",
    [peers],
  );
  return found.map((row) => row.label);
}

test.each([
  ["host=h password=x dbname=d", "host=h dbname=d"],
  ["host=h password='a host=secret b' user=u", "host=h user=u"],
  ["password = 'it\\'s' port = 5", "port=5"],
  ["host='a' port=5\tuser=\\u hostaddr=1.2.3.4", "host=a hostaddr=1.2.3.4 port=5 user=u"],
  ["password='a'host=b port=5", "..."],
  ["password=a host=b' port=5", "..."],
  ["user=u dbname=a host=h host=i", "host=i dbname=a user=u"],
  ["host=h dbname='it\\'s \\\\' user=''", "host=h dbname='it\\'s \\\\' user=''"],
  ["service=s target_session_attrs=primary", "service=s target_session_attrs=primary"],
  ["host=a\u2003password=x", "..."],
  ["dbname='host=x password=y' user=u", "..."],
  ["user= password=x", "..."],
  ["password=x", "..."],
  ["host=h oops", "..."],
  ["host='h", "..."],
  ["host=h 'x=y", "..."],
  ["postgresql://u:p@h:1/d?sslmode=x&password=y", "host=h port=1 dbname=d user=u"],
  ["postgres://h/d", "host=h dbname=d"],
  [
    "postgresql://u@h1:1,h2,[::1]:3/d?target_session_attrs=any",
    "host=h1,h2,::1 port=1,,3 dbname=d user=u target_session_attrs=any",
  ],
  ["postgresql://%2Frun/d%20b?host=other&user=me%40here", "host=other dbname='d b' user=me@here"],
  ["postgresql:///d?host=/run", "host=/run dbname=d"],
  ["postgresql://u:p?w@h/d", "host=h dbname=d user=u"],
  ["postgresql://u:p@", "user=u"],
  ["postgresql://h/d?user=", "host=h dbname=d user=''"],
  ["postgresql://u:PASSWORD", "..."],
  ["postgresql://u:p@ss@h/d", "..."],
  ["postgresql://u:p/w@h/d", "..."],
  ["postgresql://u:1/w@h/d", "..."],
  ["postgresql://h/d?oops", "..."],
  ["postgresql://h/%zz", "..."],
  ["postgresql://h/a%00b", "..."],
  ["postgresql://h/host%3Dx%20password%3Dy", "..."],
  ["postgresql://", "..."],
  ["some_node", "some_node"],
])("of %s is shown: %s", async (peer, shown) => {
  expect(await labelsOf([peer])).toEqual([shown]);
});

/** Where libpq would connect, and a password that is nowhere else. */
interface Place {
  readonly host?: string;
  readonly hostaddr?: string;
  readonly port?: string;
  readonly dbname?: string;
  readonly user?: string;
}
const secret = "s3crEt";
const words = ["h", "a b", "it's", "\\", "x%20y", "a,b", "/run", "é", "10.0.0.1", "d'", "", "u\tv"];

function placeOf(random: Random): Place {
  const maybe = <T>(value: T): T | undefined => (random.int(0, 2) > 0 ? value : undefined);
  const place = {
    host: maybe(random.pick(words)),
    hostaddr: maybe(random.pick(["10.0.0.1", "10.0.0.2"])),
    port: maybe(random.pick(["1", "2", "1,2"])),
    dbname: maybe(random.pick(words)),
    user: maybe(random.pick(words)),
  };
  const given = Object.entries(place).filter(([, value]) => value !== undefined);
  return given.length === 0 ? { host: "h" } : (Object.fromEntries(given) as Place);
}

const around: readonly (readonly [string, string])[] = [
  ...([
    ["", ""],
    ["a ", "'"],
    ["'", " b"],
    ["\\", "@h/"],
  ] as const),
  ["host=", " port=9"],
];

function conninfoOf(random: Random, place: Place, passwords = around): string {
  const blank = () => random.pick(["", " ", "\t", "\n "]);
  const quoted = (value: string) =>
    value === "" || random.int(0, 1) === 0
      ? `'${value.replace(/[\\']/g, "\\$&")}'`
      : value.replace(/[\\'\s]/g, "\\$&");
  const [before, after] = random.pick(passwords);
  const password = before + secret + after;
  const pairs = [...Object.entries(place), ["password", password], ["sslmode", "prefer"]] as const;
  // of those that stand there twice the last one counts
  const early = random.int(0, 2) === 0 ? "user='overruled' " : "";
  const first = place.user === undefined ? "" : early;
  return (
    first +
    random
      .shuffle([...pairs])
      .map(([name, value]) => `${name}${blank()}=${blank()}${quoted(value)} `)
      .join(blank())
  );
}

function uriOf(random: Random, place: Place): string {
  const encoded = (value: string) =>
    encodeURIComponent(value)
      .replace(/'/g, "%27")
      .replace(/[a-z]/g, (c) => (random.int(0, 5) === 0 ? `%${c.charCodeAt(0).toString(16)}` : c));
  const { user } = place;
  const inside = user !== undefined && user !== "" && random.int(0, 1) === 0;
  const given = Object.entries(place).filter(([name]) => !(inside && name === "user"));
  const query = random.shuffle([
    ...given.map(([n, v]) => `${n}=${encoded(v)}`),
    `password=${encodeURIComponent(`&${secret}@ ?`)}`,
  ]);
  const login = inside ? `${encoded(user)}:${random.pick(["", "?", "a:"])}${secret}@` : "";
  return `${random.pick(["postgresql", "postgres"])}://${login}?${query.join("&")}`;
}

test("whatever a string says, its label has what decides where it goes, and no password", async () => {
  const random = createRandom();
  const places = Array.from({ length: 600 }, () => placeOf(random));
  const strings = places.map((place) =>
    (random.int(0, 1) === 0 ? conninfoOf : uriOf)(random, place),
  );
  const labels = await labelsOf(strings);
  const byLabel = new Map<string, string>();
  for (const [i, label] of labels.entries()) {
    const about = `${strings[i]}\nhas the label ${label}`;
    expect(label, about).not.toContain(secret);
    // all of them are complete, so that each is understood
    expect(label, about).not.toBe("...");
    const place = JSON.stringify(Object.entries(places[i] ?? {}).sort());
    expect(byLabel.get(label) ?? place, about).toBe(place);
    byLabel.set(label, place);
  }
  expect(byLabel.size).toBeGreaterThan(100);
  // a label says what it is the label of
  expect(await labelsOf(labels)).toEqual(labels);
});

test("a string that was damaged shows no password either", async () => {
  const random = createRandom();
  const strings = Array.from({ length: 600 }, () => {
    const place = placeOf(random);
    const isUri = random.int(0, 2) === 0;
    // one that looks like a pair is one, where its quotes are gone
    const whole = isUri ? uriOf(random, place) : conninfoOf(random, place, around.slice(0, -1));
    const at = random.int(0, whole.length - 1);
    // without its colon a password would be a part of the name
    const damaged =
      whole.slice(0, at) + random.pick(["", "'", "\\", " ", "@", "/"]) + whole.slice(at + 1);
    return damaged.includes("=") &&
      (!isUri || (damaged.match(/:/g)?.length ?? 0) >= (whole.match(/:/g)?.length ?? 0))
      ? damaged
      : whole;
  });
  for (const [i, label] of (await labelsOf(strings)).entries())
    expect(label, strings[i]).not.toContain(secret);
});

test("three dots prove nothing, not even for a node of that name", async () => {
  const same = async (peer: string, label: string | null) =>
    (
      await server.query<{ same: boolean }>("select steep_repl._is_same_peer($1, $2) as same", [
        peer,
        label,
      ])
    )[0]?.same;
  expect(await same("password=x", "...")).toBe(false);
  expect(await same("...", "...")).toBe(false);
  expect(await same("host=h", null)).toBe(false);
  expect(await same("host=h password=x", "host=h")).toBe(true);
  expect(await same("postgresql://h", "host=h")).toBe(true);
  expect(await same("host=i", "host=h")).toBe(false);
});
