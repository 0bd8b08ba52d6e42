#!/usr/bin/env node
/*
 * A line between a client and a server, for where the kernel has no netem: what is sent comes half a round trip later,
 * and no faster than so many bits per second, all connections together.
 *
 *   usage: delay-line.mjs PORT ROUND_TRIP_MS MBIT_PER_SECOND      prints the port that it listens at
 */
import { connect, createServer } from "node:net";

const [target, roundTrip, megabits] = process.argv.slice(2).map(Number);
const delay = roundTrip / 2;
const bytesPerMs = (megabits * 1e6) / 8 / 1000;
/** No more is on the line, or in the sender's way to it: a router's queue. */
const maxQueued = bytesPerMs * roundTrip * 2;

/** One direction. Its queue is of chunks with the time at which they come out. */
class Direction {
  #free = 0;
  #queue = [];
  #timer;

  pass(from, to) {
    const state = { queued: 0 };
    from.on("data", (chunk) => {
      const now = performance.now();
      this.#free = Math.max(this.#free, now) + chunk.length / bytesPerMs;
      this.#queue.push({ due: this.#free + delay, chunk, from, to, state });
      state.queued += chunk.length;
      if (state.queued > maxQueued) from.pause();
      this.#arm();
    });
    from.on("error", () => to.destroy());
    from.on(
      "close",
      () => this.#queue.push({ due: this.#free + delay, from, to, state }) && this.#arm(),
    );
  }

  #arm() {
    this.#timer ??= setTimeout(
      () => this.#deliver(),
      Math.max(0, this.#queue[0].due - performance.now()),
    );
  }

  #deliver() {
    this.#timer = undefined;
    const now = performance.now();
    let n = 0;
    for (; n < this.#queue.length && this.#queue[n].due <= now + 0.5; n++) {
      const { chunk, from, to, state } = this.#queue[n];
      if (!chunk) {
        to.destroy();
        continue;
      }
      to.write(chunk);
      state.queued -= chunk.length;
      if (state.queued <= maxQueued / 2 && from.isPaused()) from.resume();
    }
    this.#queue.splice(0, n);
    if (this.#queue.length > 0) this.#arm();
  }
}

const there = new Direction();
const back = new Direction();
const server = createServer((client) => {
  const peer = connect(target, "127.0.0.1");
  for (const socket of [client, peer]) socket.setNoDelay();
  there.pass(client, peer);
  back.pass(peer, client);
});
server.listen(0, "127.0.0.1", () => console.log(server.address().port));
