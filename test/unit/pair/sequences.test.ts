import { expect, test } from "vitest";
import type { SequenceFacts } from "../../../plv8/pair/pair-facts.ts";
import { sequenceShares } from "../../../plv8/pair/preflight-sequences.ts";

const sequence = (number: string | null): SequenceFacts => ({
  ...{
    name: "public.s",
    increment: number === null ? "1" : "10",
    minimum: "1",
    maximum: "9223372036854775807",
  },
  ...{ is_cycle: false, is_owned: true, last: "1", number },
});

test.each([
  ["nobody has one", null, null, [], { here: 1, there: 2 }],
  ["this node has one", "1", null, [], { here: 1, there: 2 }],
  ["the peer has one", null, "1", [], { here: 2, there: 1 }],
  ["both have", "4", "7", [], { here: 4, there: 7 }],
  ["the peer came with that of this node", "1", "1", [2], { here: 1, there: 3 }],
  ["the tenth", "1", "1", [2, 3, 4, 5, 6, 7, 8, 9], { here: 1, there: 0 }],
] as const)("%s", (_, here, there, taken, expected) => {
  expect(sequenceShares({ here: [sequence(here)], there: [sequence(there)], taken })).toEqual(
    expected,
  );
});
