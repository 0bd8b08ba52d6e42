import type { Invocation } from "../invocation.ts";
import { rehearse } from "../rehearse.ts";
import type { Session } from "../session.ts";
import type { Statement } from "../sql-call.ts";

/**
 * What a merge or an undo would refuse before it compares, in its own words: the job is queued and asked, and never
 * runs. An undo runs as the role that merged; what that role may not do, only its own session is told beforehand.
 */
export function refuseEarly(
  invocation: Invocation,
  session: Session,
  { sql, params }: Statement,
  peer: string | undefined,
): Promise<void> {
  return rehearse(invocation, session, {
    sql: `select case when m.requested_by = current_user
                      then steep_repl._merge_try(m.operation_id, coalesce($${params.length + 1}, m.peer)) end
          from (${sql}) m`,
    params: [...params, peer ?? null],
  });
}
