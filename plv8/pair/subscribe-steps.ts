import type { PairAction, PairPhase, PairSide } from "../shared/action.ts";
import { quoteIdent, quoteLiteral } from "../shared/sql-text.ts";
import type { Names, ObjectFacts, PairFacts } from "./pair-facts.ts";
import { refuseOther, type Step, type StepInput, statement, wait } from "./step.ts";

/** A side as a step sees it. */
interface View {
  readonly side: PairSide;
  readonly names: Names;
  readonly objects: ObjectFacts;
  /** the foreign server that leads to the other side */
  readonly server: string;
}

function viewOf(side: PairSide, facts: PairFacts): View {
  return side === "local"
    ? { side, names: facts.names, objects: facts.here, server: facts.server }
    : { side, names: facts.peer_names, objects: facts.there, server: facts.peer_server };
}

const otherSide = (side: PairSide): PairSide => (side === "local" ? "peer" : "local");

/** What an earlier pair left is taken down before anything is made: where it began and where it was belong to rows that may be gone. */
export const resetting: Step = ({ facts }) => {
  if (facts.pair.step !== "plan" && facts.pair.step !== "reset") {
    return null;
  }
  const drop = (view: View, call: string, name: string): PairAction =>
    statement("planning", "reset", view.side, `select steep_repl.${call}(${quoteLiteral(name)})`);
  const views = [viewOf("local", facts), viewOf("peer", facts)];
  for (const view of views) {
    if (view.objects.subscription !== null) {
      return drop(view, "_pair_drop_subscription", view.names.subscription);
    }
  }
  for (const view of views) {
    if (view.objects.slot !== null) {
      return drop(view, "_pair_drop_slot", view.names.slot);
    }
    if (view.objects.publication !== null && !isPublicationOf(view, facts)) {
      return drop(view, "_pair_drop_publication", view.names.publication);
    }
  }
  return null;
};

function isPublicationOf({ objects }: View, { pair }: PairFacts): boolean {
  const found = objects.publication;
  const wanted = [...(pair.tables ?? [])].sort();
  const tables = [...(found?.tables ?? [])].sort();
  return (
    found !== null &&
    !found.all_tables &&
    found.via_root &&
    found.is_whole &&
    wanted.length === tables.length &&
    wanted.every((name, i) => name === tables[i])
  );
}

/** The tables are published, partitioned ones as a whole. */
export function publishing(side: PairSide, phase: PairPhase = "publishing"): Step {
  return ({ facts }) => {
    const view = viewOf(side, facts);
    if (view.objects.publication === null) {
      return statement(
        phase,
        side === "local" ? "publication here" : "publication at the peer",
        side,
        `create publication ${quoteIdent(view.names.publication)} for table ${(facts.pair.tables ?? []).join(", ")} with (publish_via_partition_root = true)`,
        "anew",
      );
    }
    if (!isPublicationOf(view, facts)) {
      refuseOther(
        "publication",
        view.names.publication,
        side,
        `It has ${view.objects.publication.tables.length} tables.`,
      );
    }
    return null;
  };
}

/** The slot that the other side will read. It waits for all transactions that began before it, also of other databases. */
export function slotting(side: PairSide): Step {
  return ({ facts, done, isFresh }) => {
    const { objects, names } = viewOf(side, facts);
    if (objects.slot === null) {
      const step = side === "local" ? "transactions here" : "transactions at the peer";
      if (facts.pair.step !== step || isFresh) {
        return statement("subscribing", step, side, "select 'done'");
      }
      if (done !== "wait") {
        return wait(
          "subscribing",
          side,
          `select steep_repl._pair_waits_for_transactions(${quoteLiteral(facts.pair.stepped_at ?? "")})`,
        );
      }
      return statement(
        "subscribing",
        side === "local" ? "slot here" : "slot at the peer",
        side,
        `select steep_repl._pair_create_slot(${quoteLiteral(names.slot)})`,
        "anew",
      );
    }
    if (objects.slot.plugin !== "pgoutput") {
      refuseOther("replication slot", names.slot, side, `Its plugin is ${objects.slot.plugin}.`);
    }
    return null;
  };
}

/** A subscription to the other side, of what was written there and nowhere else, from its slot on. */
export function subscribing(
  side: PairSide,
  {
    enabled,
    step,
    phase = "subscribing",
  }: { readonly enabled: boolean; readonly step: string; readonly phase?: PairPhase },
): Step {
  return ({ facts }: StepInput) => {
    const { objects, names, server } = viewOf(side, facts);
    const { publication, slot } = viewOf(otherSide(side), facts).names;
    const found = objects.subscription;
    if (found === null) {
      const args = [names.subscription, server, publication, slot].map(quoteLiteral).join(", ");
      return statement(
        phase,
        step,
        side,
        `select steep_repl._pair_subscribe(${args}, ${enabled})`,
        side === "peer" ? "slot" : "anew",
      );
    }
    if (
      found.slot !== slot ||
      found.origin !== "none" ||
      found.publications.length !== 1 ||
      found.publications[0] !== publication
    ) {
      refuseOther(
        "subscription",
        names.subscription,
        side,
        `Its slot is ${found.slot}, its origin ${found.origin}, its publications ${found.publications.join(", ")}.`,
      );
    }
    return null;
  };
}

/** A subscription that is there takes up what was written since its slot began, also one that somebody has disabled meanwhile. */
export function enabling(side: PairSide): Step {
  return ({ facts }) => {
    const { objects, names } = viewOf(side, facts);
    return objects.subscription?.is_enabled === false
      ? statement(
          "subscribing",
          "subscription enabled",
          side,
          `alter subscription ${quoteIdent(names.subscription)} enable`,
          "anew",
        )
      : null;
  };
}

/** The files of the copy have done their duty. */
export const tidying: Step = ({ facts }) => {
  const { jobs: mine } = facts.here;
  const { jobs: theirs } = facts.there;
  const [snapshot] = mine.filter((job) => job.operation === "generate");
  const [fetched] = theirs.filter((job) => job.operation === "fetch");
  const drop = (side: PairSide, id: string): PairAction =>
    statement(
      "finalizing",
      "tidied",
      side,
      `select steep_repl.drop_snapshot(${quoteLiteral(id)})::text`,
    );
  return snapshot !== undefined
    ? drop("local", snapshot.id)
    : fetched !== undefined
      ? drop("peer", fetched.id)
      : null;
};
