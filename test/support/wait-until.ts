import { setTimeout as sleep } from "node:timers/promises";

export interface WaitOptions {
  readonly timeoutMs?: number;
  readonly intervalMs?: number;
}

/**
 * Fetch a value until it satisfies the predicate, and return it.
 * On timeout throws with the description and the value last seen.
 */
export async function waitUntil<T>(
  fetch: () => T | Promise<T>,
  predicate: (value: T) => boolean,
  description: string,
  { timeoutMs = 30_000, intervalMs = 25 }: WaitOptions = {},
): Promise<T> {
  const deadline = performance.now() + timeoutMs;
  for (;;) {
    const value = await fetch();
    if (predicate(value)) return value;
    if (performance.now() > deadline) {
      throw new Error(`waited ${timeoutMs} ms until ${description}; last seen: ${show(value)}`);
    }
    await sleep(intervalMs);
  }
}

function show(value: unknown): string {
  return JSON.stringify(value, (_, v) => (typeof v === "bigint" ? `${v}` : v), 2) ?? String(value);
}
