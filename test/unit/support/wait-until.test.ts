import { expect, test } from "vitest";
import { waitUntil } from "../../support/wait-until.ts";

test("returns the value that satisfies the predicate", async () => {
  let calls = 0;
  const value = await waitUntil(
    () => ++calls,
    (n) => n === 3,
    "three calls",
    { intervalMs: 1 },
  );
  expect(value).toBe(3);
});

test("says what was awaited and what was last seen", async () => {
  const never = waitUntil(
    () => ({ status: "running", bytes: 5n }),
    () => false,
    "the job ends",
    { timeoutMs: 10, intervalMs: 1 },
  );
  await expect(never).rejects.toThrow(/until the job ends; last seen: .*"running".*"5"/s);
});
