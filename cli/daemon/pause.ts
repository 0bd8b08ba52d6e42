import { setTimeout as sleep } from "node:timers/promises";

/**
 * Wait, unless the RPC is over before.
 *
 * @throws the reason: a ConnectError of the client's, of the deadline or of a daemon that stops
 */
export async function pause(ms: number, signal: AbortSignal): Promise<void> {
  try {
    await sleep(ms, undefined, { signal });
  } catch (error) {
    throw signal.aborted ? signal.reason : error;
  }
}
