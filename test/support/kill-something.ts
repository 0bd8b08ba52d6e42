import { signal } from "./processes.ts";
import type { Random } from "./random.ts";
import type { Server } from "./server.ts";
import { waitUntil } from "./wait-until.ts";

/**
 * Kill the server and start it, or kill one of our workers and wait until the server has restarted itself; who was killed.
 * @param ofServer how often it is the server, 0 to 1
 */
export async function killSomething(
  server: Server,
  random: Random,
  ofServer: number,
): Promise<string> {
  if (random.next() < ofServer) {
    await server.kill9();
    await server.start();
    return "server";
  }
  const [victim] = random.shuffle(
    await server.query<{ pid: number; name: string }>(
      "select pid, application_name as name from pg_stat_activity where application_name like 'steep_repl%'",
    ),
  );
  if (!victim) return "nobody";
  const [launcher] = await server.pidsByApplicationName("steep_repl launcher");
  signal(victim.pid, "SIGKILL");
  // one that had just ended by itself is no longer listed; one that was killed is until the restart
  await waitUntil(
    async () => ({
      launchers: await server.pidsByApplicationName("steep_repl launcher").catch(() => []),
      listed: await server.pidsByApplicationName("steep_repl%").catch(() => [victim.pid]),
    }),
    ({ launchers, listed }) =>
      launchers.length === 1 && (launchers[0] !== launcher || !listed.includes(victim.pid)),
    "there is a new launcher",
    { timeoutMs: 20_000 },
  );
  return victim.name.replace(/(snap|apply)_\w+ /, "");
}
