import { afterAll, beforeAll, expect, test } from "vitest";
import { setLedgerModel } from "../../support/ledger-servers.ts";

const cases = Number(process.env.STEEP_CASES ?? 2);
const model = setLedgerModel({ beforeAll, afterAll }, { replicates: true });

test("what users, subscriptions, merges and undos have written down is all that happened to each row", async () => {
  for (let n = 0; n < cases; n++) await model().check();
  expect(model().seen).not.toEqual({});
}, 120_000);
