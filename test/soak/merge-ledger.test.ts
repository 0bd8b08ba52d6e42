import { afterAll, beforeAll, describe, test } from "vitest";
import { setLedgerModel } from "../support/ledger-servers.ts";

const cases = Number(process.env.STEEP_CASES ?? 200);

describe.each([
  ["two servers", false, cases],
  ["two servers that replicate to each other", true, Math.ceil(cases / 4)],
])("%s", (_, replicates, n) => {
  const model = setLedgerModel({ beforeAll, afterAll }, { replicates });

  test(`what all have written down is all that happened to each row, in ${n} cases`, async () => {
    for (let i = 0; i < n; i++) await model().check({ mayCrash: true });
    console.info(model().seen);
  });
});
