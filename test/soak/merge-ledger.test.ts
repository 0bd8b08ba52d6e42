import { afterAll, beforeAll, test } from "vitest";
import { setLedgerModel } from "../support/ledger-servers.ts";

const cases = Number(process.env.STEEP_CASES ?? 200);
const model = setLedgerModel({ beforeAll, afterAll });

test(`what users, merges and undos have written down is all that happened to each row, in ${cases} cases`, async () => {
  for (let n = 0; n < cases; n++) await model().check({ mayCrash: true });
  console.info(model().seen);
});
