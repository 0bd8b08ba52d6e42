import { expect, test } from "vitest";
import { run } from "../../support/pg.ts";

test("passes input and environment, and returns the output", async () => {
  const result = await run("sh", ["-c", 'cat; echo "$WORD" >&2'], {
    env: { WORD: "two" },
    input: "one",
  });
  expect(result).toEqual({ code: 0, stdout: "one", stderr: "two\n" });
});

test("throws what a failing program said, unless it may fail", async () => {
  const failing = ["-c", "echo reason >&2; exit 3"];
  await expect(run("sh", failing)).rejects.toThrow(/ended with 3\nreason/);
  expect(await run("sh", failing, { allowFailure: true })).toMatchObject({ code: 3 });
});
