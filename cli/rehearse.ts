import type { Invocation } from "./invocation.ts";
import type { Session } from "./session.ts";
import type { Statement } from "./sql-call.ts";

/**
 * Run a statement that queues a job, in a transaction that is rolled back: what the server refuses is said before long
 * work, and before a question. Throws what the statement throws.
 */
export async function rehearse(
  invocation: Invocation,
  session: Session,
  { sql, params }: Statement,
): Promise<void> {
  await session.client.query("begin");
  try {
    await invocation.interruptible(session, () => session.query(sql, params));
  } finally {
    // of a lost connection, the statement has said so
    await session.client.query("rollback").catch(() => {});
  }
}
