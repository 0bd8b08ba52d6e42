import type { Server } from "./server.ts";
import { waitUntil } from "./wait-until.ts";

/** An origin that no subscription has, for `apart`. */
export const makeOriginApart = "select pg_replication_origin_create('apart')";

/** Change a node without telling others that replicate from it with origin = none: changes with an origin are not sent. */
export async function apart(server: Server, sql: string): Promise<void> {
  const session = await server.connect();
  await waitUntil(
    () =>
      session.query("select pg_replication_origin_session_setup('apart')").then(
        () => true,
        () => false,
      ),
    Boolean,
    "the origin is free",
  );
  await session.query(sql);
  await session.query("select pg_replication_origin_session_reset()");
  await session.end();
}
