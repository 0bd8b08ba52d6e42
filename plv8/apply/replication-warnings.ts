import type { ApplyParams } from "./apply-params.ts";

/** What `steep_repl._replicated` says of the tables to load: names, joined, null for none. */
export interface Replicated {
  /** of the tables, those that something below replicates */
  readonly tables: string | null;
  readonly publications: string | null;
  /** logical slots of this database: a slot does not say what its subscriber asks for */
  readonly slots: string | null;
  readonly subscriptions: string | null;
  /** tables that no publication has */
  readonly unpublished: string | null;
  /** of the publications, those that do not publish it */
  readonly without_insert: string | null;
  readonly without_truncate: string | null;
}

const listOf = (names: Readonly<Record<string, string | null>>) =>
  Object.entries(names)
    .filter(([, list]) => list !== null)
    .map(([kind, list]) => `${kind} ${list}`)
    .join("; ");

/** What is asked for and will not happen. */
function notSent(params: ApplyParams, replicated: Replicated): readonly string[] {
  const { publications, unpublished, without_insert, without_truncate } = replicated;
  const warnings: string[] = [];
  if (unpublished !== null) {
    warnings.push(
      `no publication of this node has tables, so no peer gets their rows: ${unpublished}`,
    );
  }
  if (publications !== null && without_insert !== null) {
    warnings.push(
      `publications do not publish inserts, so they send no loaded rows: ${without_insert}`,
    );
  }
  if (publications !== null && params.truncate && without_truncate !== null) {
    warnings.push(
      `publications do not publish TRUNCATE, so peers keep the rows that they have: ${without_truncate}`,
    );
  }
  return warnings;
}

/** How a load makes nodes differ that replicate to each other. */
export function replicationWarnings(
  params: ApplyParams,
  replicated: Replicated,
  { carriesOrigin }: { readonly carriesOrigin: boolean },
): readonly string[] {
  if (params.replicate) {
    return notSent(params, replicated);
  }
  const { tables, publications, slots, subscriptions } = replicated;
  if (carriesOrigin && publications !== null && slots !== null) {
    return [
      `subscribers with origin = none do not get the loaded rows, and differ from this node until the same is loaded there (replicate => true sends them like any others): ${listOf({ tables, publications, slots, subscriptions })}`,
    ];
  }
  return subscriptions === null
    ? []
    : [
        `subscriptions bring changes to loaded tables from publishers that may not have the loaded rows: ${listOf({ tables, subscriptions })}`,
      ];
}
