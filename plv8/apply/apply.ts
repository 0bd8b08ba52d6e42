import type { ApplyAction, ApplyDone } from "../shared/action.ts";
import { refuseAny } from "../shared/refusal.ts";
import type { ApplyParams, Section } from "./apply-params.ts";
import { constraintChecksQuery, factsQuery, levelsQuery } from "./apply-sql.ts";
import { type Replicated, replicationWarnings } from "./replication-warnings.ts";

/** What the planner decides by, after `check_targets`: lists of names, joined, null for none. */
export interface ApplyFacts {
  /** relations that the archive creates and that are there already */
  readonly existing: string | null;
  /** large objects that the archive creates and that are there already */
  readonly existing_objects: string | null;
  /** tables to load that are not there */
  readonly missing: string | null;
  readonly not_tables: string | null;
  readonly not_insertable: string | null;
  readonly row_security: string | null;
  readonly not_truncatable: string | null;
  readonly missing_sequences: string | null;
  readonly not_settable: string | null;
  /** tables whose foreign keys refer to each other in a circle */
  readonly circle: string | null;
  readonly has_triggers: boolean;
  readonly may_skip_triggers: boolean;
  readonly may_set_origin: boolean;
  /** this database has publications */
  readonly publishes: boolean;
  readonly replicated: Replicated;
  /** the requester, as SQL writes it */
  readonly role: string;
}

export interface ApplyJob {
  readonly done: ApplyDone;
  readonly params: ApplyParams;
}

function has(params: ApplyParams, section: Section): boolean {
  return params.sections.includes(section);
}

const yesNo = (value: boolean) => (value ? "yes" : "no");

function openArchive(params: ApplyParams): ApplyAction {
  return {
    kind: "open_archive",
    phase: "planning",
    path: params.input_path,
    pre_data: yesNo(has(params, "pre-data")),
    data: yesNo(has(params, "data")),
    post_data: yesNo(has(params, "post-data")),
    truncate: yesNo(params.truncate && !has(params, "pre-data")),
    no_owner: yesNo(params.no_owner),
    no_privileges: yesNo(params.no_privileges),
    tables: params.tables,
  };
}

/** The archive makes its tables itself: none of them may be there. */
function refuseExisting(facts: ApplyFacts): void {
  refuseAny([
    {
      names: facts.existing,
      sqlstate: "42P07",
      message: "relations that the snapshot would create exist already",
      hint: "Apply to an empty database, drop them, or load existing tables with sections => '{data}'.",
    },
  ]);
}

/** Everything that a load into existing tables lacks, before it begins. */
function refuseTargets(params: ApplyParams, facts: ApplyFacts): void {
  refuseAny([
    {
      names: facts.missing,
      sqlstate: "42P01",
      message: "tables to be loaded do not exist",
      hint: "Apply section pre-data too, or create them first.",
    },
    {
      names: facts.not_tables,
      sqlstate: "42809",
      message: "only tables can be loaded",
      hint: "Rename what has taken the tables' names.",
    },
    {
      names: facts.not_insertable,
      sqlstate: "42501",
      message: "permission denied to load tables",
      hint: `GRANT INSERT ON them TO ${facts.role}, and USAGE ON their SCHEMA.`,
    },
    {
      names: facts.row_security,
      sqlstate: "0A000",
      message: "row security applies to tables that are to be loaded",
      hint: `Apply as their owner, or as a role with BYPASSRLS, instead of ${facts.role}.`,
    },
    {
      names: params.truncate ? facts.not_truncatable : null,
      sqlstate: "42501",
      message: "permission denied to truncate tables",
      hint: `GRANT TRUNCATE ON them TO ${facts.role}, or empty them first.`,
    },
    {
      names: facts.may_skip_triggers ? null : facts.circle,
      sqlstate: "42501",
      message:
        "foreign keys refer to each other in a circle, so no order of loading satisfies them",
      hint: `GRANT SET ON PARAMETER session_replication_role TO ${facts.role}: then they are checked when all is loaded.`,
    },
    {
      names: facts.missing_sequences,
      sqlstate: "42P01",
      message: "sequences to be set do not exist",
      hint: "Apply section pre-data too, or create them first.",
    },
  ]);
}

/** What the job can do without, and the grant that would mend it. */
function warningsFor(params: ApplyParams, facts: ApplyFacts): readonly string[] {
  const warnings: string[] = [];
  const intoExisting = has(params, "data") && !has(params, "pre-data");
  if (intoExisting && facts.not_settable !== null) {
    warnings.push(
      `values of sequences are left as they are, for lack of a right (GRANT UPDATE ON SEQUENCE name TO ${facts.role}): ${facts.not_settable}`,
    );
  }
  if (intoExisting && facts.has_triggers && !facts.may_skip_triggers) {
    warnings.push(
      `triggers fire and foreign keys are checked with each row (GRANT SET ON PARAMETER session_replication_role TO ${facts.role} avoids it)`,
    );
  }
  if (facts.publishes && !facts.may_set_origin && !params.replicate) {
    warnings.push(
      `loaded rows reach the subscribers of this node like any others (GRANT EXECUTE ON FUNCTION pg_replication_origin_session_setup TO ${facts.role} lets them carry an origin)`,
    );
  }
  if (has(params, "data")) {
    warnings.push(
      ...replicationWarnings(params, facts.replicated, { carriesOrigin: facts.may_set_origin }),
    );
  }
  return warnings;
}

/** Large objects keep their oids, which somebody else's may have. */
function refuseExistingObjects(params: ApplyParams, facts: ApplyFacts): void {
  refuseAny([
    {
      names: params.truncate && !has(params, "pre-data") ? null : facts.existing_objects,
      sqlstate: "42710",
      message: "large objects that the snapshot would create exist already",
      hint: has(params, "pre-data")
        ? "Apply to an empty database, or remove them with lo_unlink()."
        : "Remove them with lo_unlink(), or pass truncate => true to replace them.",
    },
  ]);
}

function afterTargets(params: ApplyParams, facts: ApplyFacts): ApplyAction {
  if (has(params, "pre-data")) {
    refuseExisting(facts);
  } else if (has(params, "data")) {
    refuseTargets(params, facts);
  }
  refuseExistingObjects(params, facts);
  const warnings = warningsFor(params, facts);
  return {
    kind: "start_appliers",
    phase: "planning",
    parallel: params.parallel,
    replicate: yesNo(params.replicate),
    ...(warnings.length > 0 ? { warnings } : {}),
  };
}

/** What comes after each action of an apply. Steps of other sections have nothing to do. */
export function nextApplyAction(job: ApplyJob, facts: ApplyFacts): ApplyAction {
  const { params } = job;
  switch (job.done) {
    case null:
      return openArchive(params);
    case "open_archive":
      return params.verify
        ? { kind: "verify", phase: "planning" }
        : { kind: "check_targets", phase: "planning", facts: factsQuery, levels: levelsQuery };
    case "verify":
      return { kind: "check_targets", phase: "planning", facts: factsQuery, levels: levelsQuery };
    case "check_targets":
      return afterTargets(params, facts);
    case "start_appliers":
      return { kind: "pre_data", phase: "schema" };
    case "pre_data":
      return { kind: "truncate", phase: "data" };
    case "truncate":
      return { kind: "load", phase: "data" };
    case "load":
      return { kind: "set_sequences", phase: "sequences" };
    case "set_sequences":
      return { kind: "post_data", phase: "indexes" };
    case "post_data":
      return {
        kind: "check_constraints",
        phase: "finalizing",
        checks: constraintChecksQuery,
      };
    case "check_constraints":
      return { kind: "analyze", phase: "finalizing" };
    case "analyze":
      return { kind: "close_plan", phase: "finalizing" };
    case "close_plan":
      return { kind: "complete", phase: "complete" };
  }
}
