import { expect, test } from "vitest";
import { createRandom } from "../../support/random.ts";

test("a seed repeats its numbers", () => {
  const draw = (seed: number) => Array.from({ length: 5 }, createRandom(seed).next);
  expect(draw(42)).toEqual(draw(42));
  expect(draw(42)).not.toEqual(draw(43));
});

test("integers stay within their bounds and reach them", () => {
  const random = createRandom(1);
  const drawn = new Set(Array.from({ length: 200 }, () => random.int(-1, 2)));
  expect([...drawn].sort((a, b) => a - b)).toEqual([-1, 0, 1, 2]);
});

test("a shuffle keeps every item", () => {
  const items = [1, 2, 3, 4, 5, 6, 7, 8];
  const shuffled = createRandom(7).shuffle(items);
  expect(shuffled).not.toEqual(items);
  expect(shuffled.sort((a, b) => a - b)).toEqual(items);
});
