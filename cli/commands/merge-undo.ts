import type { ExitCode } from "../cli-error.ts";
import type { JobOptions } from "../command.ts";
import { confirm, requireYes } from "../confirm.ts";
import type { CommonOptions, Invocation } from "../invocation.ts";
import type { Session } from "../session.ts";
import { call } from "../sql-call.ts";
import { placeOf } from "./local-node.ts";
import { refuseEarly } from "./merge-try.ts";
import type { PeerOptions } from "./peer.ts";

type UndoOptions = PeerOptions & JobOptions & CommonOptions & { readonly yes?: boolean };

/** Show what a merge wrote on which side, ask, and take it back. */
export async function undoMerge(
  invocation: Invocation,
  options: UndoOptions,
  id: string,
): Promise<ExitCode> {
  requireYes(options.yes, `undoing ${id}`);
  const session = await invocation.open();
  try {
    const statement = call("undo_merge", { merge_id: id, peer: options.peer });
    await refuseEarly(invocation, session, statement, options.peer);
    invocation.output.message(await summary(session, id));
    await confirm(options.yes, `Undo ${id}`);
    const { startAndFollow } = await import("../job/run-job.ts");
    return await startAndFollow(invocation, session, statement, options);
  } finally {
    await session.end();
  }
}

async function summary(session: Session, id: string): Promise<string> {
  const { values } = await session.row(
    `select m.peer,
            count(a.id) filter (where a.action like '%local') as here,
            count(a.id) filter (where a.action like '%remote') as there
     from steep_repl.merges m left join steep_repl.merge_audit_log a using (merge_id)
     where m.merge_id = $1 group by m.peer`,
    [id],
  );
  const here = `${session.serverName}, database ${session.client.database}`;
  const peer = await placeOf(session, values.peer ?? "");
  return `undo of ${id}: here (${here}) loses ${values.here} changes, the peer (${peer}) loses ${values.there} changes of that merge; rows that changed since are left`;
}
