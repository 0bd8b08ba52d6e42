import type { Json } from "../db/sql.ts";
import { invalidArgument } from "../db/steep-error.ts";
import { flag, optionalNames, parallelOf, type Raw, requiredText } from "../shared/params.ts";

export const sectionNames = ["pre-data", "data", "post-data"] as const;

export type Section = (typeof sectionNames)[number];

/** The arguments of an apply, as queued in `work_queue.params`. */
export interface ApplyParams {
  readonly [name: string]: Json;
  readonly input_path: string;
  /** the most appliers, 1 to 64 */
  readonly parallel: number;
  /** re-read every byte before anything is changed */
  readonly verify: boolean;
  readonly sections: readonly Section[];
  /** `schema.table`; null = all */
  readonly tables: readonly string[] | null;
  readonly truncate: boolean;
  readonly no_owner: boolean;
  readonly no_privileges: boolean;
  /** whether peers get the rows; jobs of before there was the choice do not say */
  readonly replicate: boolean;
}

function isSection(name: string): name is Section {
  return (sectionNames as readonly string[]).includes(name);
}

function sectionsOf(raw: Raw): readonly Section[] {
  const names = optionalNames(raw, "sections") ?? sectionNames;
  return names.map((name) => {
    if (!isSection(name)) {
      throw invalidArgument(`unknown section "${name}"`, `Use some of ${sectionNames.join(", ")}.`);
    }
    return name;
  });
}

/**
 * Check the arguments of an apply. Called when it is queued and again when it
 * runs, since a role may add rows to the queue by itself.
 *
 * @throws SteepError 22023 for a bad argument
 */
export function applyParams(raw: Raw): ApplyParams {
  const params: ApplyParams = {
    input_path: requiredText(raw, "input_path"),
    parallel: parallelOf(raw),
    verify: flag(raw, "verify"),
    sections: sectionsOf(raw),
    tables: optionalNames(raw, "tables"),
    truncate: flag(raw, "truncate"),
    no_owner: flag(raw, "no_owner"),
    no_privileges: flag(raw, "no_privileges"),
    replicate: flag({ replicate: false, ...raw }, "replicate"),
  };
  if (params.truncate && !params.sections.includes("data")) {
    throw invalidArgument("truncate needs section data", "Without it the tables would stay empty.");
  }
  if (params.replicate && !params.sections.includes("data")) {
    throw invalidArgument("replicate needs section data", "No other rows are replicated.");
  }
  return params;
}
