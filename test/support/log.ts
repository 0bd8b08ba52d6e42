import type { Server } from "./server.ts";
import { waitUntil } from "./wait-until.ts";

/** Wait until a server has logged something: how a job ended, which follows the job's row. */
export async function untilLogged(server: Server, pattern: RegExp): Promise<void> {
  await waitUntil(
    async () => pattern.test(await server.log()),
    Boolean,
    `${server.name} has logged ${pattern}`,
  );
}
