import { expect, test } from "vitest";
import { sizeText } from "../../../plv8/shared/size-text.ts";

test.each([
  [0, "0 bytes"],
  [-5, "-5 bytes"],
  [10_239, "10239 bytes"],
  [10_240, "10 kB"],
  [64 * 1024, "64 kB"],
  [10 * 1024 ** 2 - 1024, "10239 kB"],
  [12.4 * 1024 ** 2, "12 MB"],
  [3 * 1024 ** 4, "3072 GB"],
  [30 * 1024 ** 5, "30720 TB"],
])("%d bytes are %s", (bytes, text) => {
  expect(sizeText(bytes)).toBe(text);
});
