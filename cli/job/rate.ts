/** How fast a counter grows, over the last few seconds. */
export class Rate {
  readonly #windowMs: number;
  #samples: { readonly at: number; readonly count: number }[] = [];

  constructor(windowMs = 5000) {
    this.#windowMs = windowMs;
  }

  /** Note a count at a time in ms. */
  add(count: number, at: number): void {
    // it starts anew when a job does
    if (count < (this.#samples.at(-1)?.count ?? 0)) this.#samples = [];
    this.#samples.push({ at, count });
    while (this.#samples.length > 2 && at - (this.#samples[1]?.at ?? at) >= this.#windowMs) {
      this.#samples.shift();
    }
  }

  /** A second; undefined while it cannot be told. */
  get perSecond(): number | undefined {
    const [first, last] = [this.#samples[0], this.#samples.at(-1)];
    if (!first || !last || last.at - first.at < 500) return undefined;
    return ((last.count - first.count) * 1000) / (last.at - first.at);
  }
}
