/** A change of a row on one side: what it was and became; null: there was none. */
export interface Step {
  readonly old: string | null;
  readonly new: string | null;
}

const name = (token: string | null) => token ?? "∅";

/**
 * Whether changes lead from the first state of a row to the last one, each of them once: they are a path without a gap. The
 * order in which two sides wrote is not known, so this is Euler's condition.
 *
 * @returns what is wrong; else null
 */
export function gapOf(
  steps: readonly Step[],
  first: string | null,
  last: string | null,
): string | null {
  const balance = new Map<string, number>([[name(first), 1]]);
  const add = (token: string, n: number) => balance.set(token, (balance.get(token) ?? 0) + n);
  add(name(last), -1);
  for (const step of steps) {
    add(name(step.old), -1);
    add(name(step.new), 1);
  }
  const off = [...balance].filter(([, n]) => n !== 0);
  if (off.length > 0)
    return off
      .map(
        ([token, n]) =>
          `${token} is ${n > 0 ? "left" : "written over"} ${Math.abs(n)} times too ${n > 0 ? "seldom" : "often"}`,
      )
      .join(", ");
  const reached = new Set([name(first)]);
  for (let grows = true; grows; ) {
    const next = steps.filter((s) => reached.has(name(s.old)) && !reached.has(name(s.new)));
    for (const step of next) reached.add(name(step.new));
    grows = next.length > 0;
  }
  const apart = steps.filter((s) => !reached.has(name(s.old)));
  return apart.length > 0 ? `nobody comes to ${apart.map((s) => name(s.old)).join(", ")}` : null;
}
