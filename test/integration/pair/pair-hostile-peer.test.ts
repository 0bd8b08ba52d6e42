import { afterAll, afterEach, beforeAll, expect, test, vi } from "vitest";
import { kindsOf, LyingPeer, lieAbout } from "../../support/lying-peer.ts";
import { makePair, replicationObjects, setPairNodes } from "../../support/pair-nodes.ts";
import { createRandom } from "../../support/random.ts";
import type { Server } from "../../support/server.ts";

/* Whatever the other node of a pair says of itself, nothing of it runs here: what it says is in turn a piece of SQL. */

vi.setConfig({ testTimeout: 240_000 });

const random = createRandom();
const canary = "nextval('public.canary')";
const injections = [
  canary,
  `1); select ${canary}; --`,
  `'||${canary}||'`,
  `"||${canary}||"`,
  `x'); select ${canary}; --`,
  `node_a" connection '' publication x; select ${canary}; --`,
];
/** So many kinds of answers a call, another choice each time. */
const lies = Number(process.env.STEEP_LIES ?? 6);

let a: Server;
let b: Server;
let before: readonly unknown[];
let peer: LyingPeer;
setPairNodes("pair-hostile-peer", (...nodes) => {
  [a, b, before] = nodes;
});
beforeAll(async () => {
  peer = await LyingPeer.before(b.port);
  await a.query(`alter server to_node_b options (set port '${peer.port}')`);
  for (const server of [a, b]) {
    await server.query(
      `create sequence canary; create table t (id serial primary key, v text); insert into t (v) values ('x')`,
    );
  }
});
afterAll(() => peer.close());
afterEach(async () => {
  peer.lie = (text) => text;
  expect(await a.query("select is_called from canary")).toEqual([{ is_called: false }]);
  expect(await a.log()).not.toMatch(/signal 11|signal 6|PANIC|TRAP|terminated by signal/);
});

type Call = () => Promise<unknown>;

async function kindsIn(call: Call): Promise<readonly string[]> {
  const kinds = new Set<string>();
  peer.lie = (text) => {
    for (const kind of kindsOf(text)) kinds.add(kind);
    return text;
  };
  await call();
  return [...kinds].sort();
}

/** What a lie does to a call is no matter. How many kinds of answers there are. */
async function lieIn(call: Call, n = lies): Promise<number> {
  const kinds = await kindsIn(call);
  for (const kind of random.shuffle(kinds).slice(0, n)) {
    const instead = random.pick(injections);
    peer.lie = lieAbout(kind, instead);
    await call().catch((error: { code?: string }) =>
      expect(error.code, kind).toMatch(/^[0-9A-Z]{5}$/),
    );
    const [row] = await a.query("select is_called from canary");
    expect(row, `${kind} = ${instead}`).toEqual({ is_called: false });
  }
  return kinds.length;
}

test.each(["preflight", "_pair_plan"])("%s", async (call) => {
  for (const existing of ["refuse", "merge"]) {
    expect(
      await lieIn(() =>
        a
          .query(`select * from steep_repl.${call}('node_b', '{public.t}', existing => $1)`, [
            existing,
          ])
          .catch((e: { code?: string }) => {
            // rows at the peer refuse a plan that fills it
            if (e.code !== "55000") throw e;
          }),
      ),
    ).toBeGreaterThan(25);
  }
});

test("a pair", async () => {
  const call = async () => {
    const pair = await makePair(a, "'node_b', '{public.t}', existing => 'merge'");
    if (pair.status === "failed") expect(pair.error_message).toMatch(/\S/);
    await a.query("select * from steep_repl.drop_pair('node_b')").catch(() => undefined);
  };
  expect(await lieIn(call, lies / 2)).toBeGreaterThan(25);
  peer.lie = (text) => text;
  await a.query("select * from steep_repl.drop_pair('node_b')").catch((e: { code?: string }) => {
    if (e.code !== "42704") throw e;
  });
  expect(await replicationObjects(b)).toEqual(before[1]);
});
