/*
 * overlap_actions.c
 *	  The actions of an overlap job, as plv8/overlap/overlap.ts orders them. Rows are
 *	  compared by SQL with the requester's rights, as analyze_overlap does it;
 *	  what is found is then written down as the extension's owner.
 */
#include "jobs/run.h"

#include "catalog/pg_type.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "jobs/owner.h"
#include "replication/origin.h"
#include "base/compat.h"
#include "jobs/requester.h"
#include "utils/builtins.h"

/* Rows that are written down with one statement. */
#define ROWS_PER_INSERT 2000

struct OverlapRun
{
	char *connection; /* of dblink, to the peer */
	int n_tables;
	int n_compared;
};

/* What comparing a table found, as text, in the order of overlap_tables' columns. */
#define N_RESULTS 11

/* What an earlier attempt found is void. */
static void
forget_results(JobRun *run)
{
	OwnerSession session;
	Oid types[] = {TEXTOID};
	Datum values[] = {CStringGetTextDatum(run->job->object_id)};

	owner_begin_transaction(&session);
	owner_execute("delete from steep_repl.overlap_rows where overlap_id = $1", 1, types, values,
				  NULL);
	owner_execute("delete from steep_repl.overlap_tables where overlap_id = $1", 1, types, values,
				  NULL);
	owner_commit_transaction(&session);
}

/* How far the comparison is, for TypeScript. */
static void
report_compared(JobRun *run)
{
	OverlapRun *overlap = run->overlap;

	run->expected = overlap->n_compared < overlap->n_tables ? "compare" : "close_peer";
	appendStringInfo(&run->facts, "\"compared\":%d,\"tables\":%d", overlap->n_compared,
					 overlap->n_tables);
}

/* Connect, and plan all tables before the first is read. */
static void
open_peer(JobRun *run, Jsonb *action)
{
	static const char *const sql_plan =
		"select steep_repl._overlap_plans($1, case when jsonb_typeof($2::jsonb -> 'tables') = 'array' then "
		"  array(select jsonb_array_elements_text($2::jsonb -> 'tables')) end, "
		"  nullif($2::jsonb -> 'primary_keys', 'null'))";
	static const char *const sql_names =
		"select array(select p.plan ->> 'table' from pg_temp.steep_repl_plans p order by p.no)::text";
	OverlapRun *overlap = palloc0_object(OverlapRun);
	OwnerSession session;
	char *names;

	forget_results(run);
	requester_begin();
	overlap->connection = requester_open_peer(run);
	overlap->n_tables = requester_count(
		run, sql_plan, 2, (Oid[]){TEXTOID, TEXTOID},
		(Datum[]){CStringGetTextDatum(overlap->connection), CStringGetTextDatum(run->params)});
	names = requester_text(run, sql_names, 0, NULL, NULL);
	requester_commit();

	run->overlap = overlap;
	pg_atomic_write_u32(&run->job->counters.tables_total, overlap->n_tables);
	pg_atomic_write_u32(&run->job->counters.items_total, overlap->n_tables);
	owner_begin_transaction(&session);
	owner_execute("update steep_repl.overlaps set tables = $2::text[] where operation_id = $1", 2,
				  (Oid[]){INT8OID, TEXTOID},
				  (Datum[]){Int64GetDatum(run->job->id), CStringGetTextDatum(names)}, NULL);
	owner_commit_transaction(&session);
	report_compared(run);
}

/*
 * Write down the rows that differ: read as the requester, whose temporary table
 * it is, and inserted as the owner. As text, for only then can nothing that the
 * requester made of that table run with the owner's rights.
 */
static void
keep_rows(JobRun *run, const char *table, const char *key)
{
	static const char *const sql_read =
		"select max(d.no), array_agg(d.category)::text, array_agg(jsonb_object($2::text[], d.key)::text)::text, "
		"  array_agg(d.local_digest)::text, array_agg(d.peer_digest)::text "
		"from (select * from pg_temp.steep_repl_differences d where d.no > $1 order by d.no limit $3) d";
	static const char *const sql_write =
		"insert into steep_repl.overlap_rows (overlap_id, table_name, category, key, local_digest, peer_digest) "
		"select $1, $2, u.category, u.key::jsonb, u.local_digest, u.peer_digest "
		"from unnest($3::text[], $4::text[], $5::bigint[], $6::bigint[]) u(category, key, local_digest, peer_digest)";
	int last = 0;

	for (;;)
	{
		OwnerSession session;
		char *found[5];
		Datum values[6] = {CStringGetTextDatum(run->job->object_id), CStringGetTextDatum(table)};

		requester_select(run, sql_read, 3, (Oid[]){INT4OID, TEXTOID, INT4OID},
						 (Datum[]){Int32GetDatum(last), CStringGetTextDatum(key),
								   Int32GetDatum(ROWS_PER_INSERT)},
						 5, found);
		if (found[0] == NULL)
			break;
		last = pg_strtoint32(found[0]);
		for (int i = 1; i < 5; i++)
		{
			if (found[i] == NULL)
				ereport(ERROR,
						(errcode(ERRCODE_DATA_EXCEPTION), errmsg("rows that differ lack a part")));
			values[i + 1] = CStringGetTextDatum(found[i]);
		}
		owner_begin(&session);
		owner_execute(sql_write, 6, (Oid[]){TEXTOID, TEXTOID, TEXTOID, TEXTOID, TEXTOID, TEXTOID},
					  values, NULL);
		owner_end(&session);
		for (int i = 0; i < 5; i++)
			pfree(found[i]);
		CHECK_FOR_INTERRUPTS();
	}
}

/* A table's counts and the positions that they hold for. */
static void
keep_counts(JobRun *run, char **results)
{
	static const char *const sql_table =
		"insert into steep_repl.overlap_tables (overlap_id, table_name, key_columns, local_only_count, remote_only_count, "
		"  match_count, conflict_count, unsettled_count, local_lsn, peer_lsn, local_snapshot, peer_snapshot) "
		"values ($1, $2, $3::text[], $4::bigint, $5::bigint, $6::bigint, $7::bigint, $8::bigint, $9::pg_lsn, $10::pg_lsn, $11, $12)";
	static const char *const sql_overlap =
		"update steep_repl.overlaps o set local_only_count = s.l, remote_only_count = s.r, match_count = s.m, "
		"  conflict_count = s.c, unsettled_count = s.u "
		"from (select sum(t.local_only_count) as l, sum(t.remote_only_count) as r, sum(t.match_count) as m, "
		"        sum(t.conflict_count) as c, sum(t.unsettled_count) as u "
		"      from steep_repl.overlap_tables t where t.overlap_id = $1) s where o.overlap_id = $1";
	Oid types[N_RESULTS + 1];
	Datum values[N_RESULTS + 1] = {CStringGetTextDatum(run->job->object_id)};
	OwnerSession session;

	types[0] = TEXTOID;
	for (int i = 0; i < N_RESULTS; i++)
	{
		types[i + 1] = TEXTOID;
		values[i + 1] = CStringGetTextDatum(results[i]);
	}
	owner_begin(&session);
	owner_execute(sql_table, N_RESULTS + 1, types, values, NULL);
	owner_execute(sql_overlap, 1, types, values, NULL);
	owner_end(&session);
}

/* Compare one table; its counts and rows appear together. */
static void
compare(JobRun *run, Jsonb *action)
{
	static const char *const sql_plan =
		"select p.plan ->> 'table', array(select jsonb_array_elements_text(p.plan -> 'key'))::text "
		"from pg_temp.steep_repl_plans p where p.no = $1";
	static const char *const sql_compare =
		"select t.table_name, $4, t.local_only_count, t.remote_only_count, t.match_count, t.conflict_count, "
		"  t.unsettled_count, t.local_lsn, t.peer_lsn, t.local_snapshot, t.peer_snapshot "
		"from steep_repl._overlap_table($1, (select p.plan from pg_temp.steep_repl_plans p where p.no = $3), "
		"  ($2::jsonb ->> 'catch_up_timeout')::interval) t";
	int no = action_int(action, "no", 0);
	char *plan[2];
	char *results[N_RESULTS];

	action_check_number(no, run->overlap->n_compared + 1);
	requester_begin();
	requester_texts(run, sql_plan, 1, (Oid[]){INT4OID}, (Datum[]){Int32GetDatum(no)}, 2, plan);
	requester_commit();
	run_show_table(run, plan[0]);

	requester_begin();
	requester_texts(run, sql_compare, 4, (Oid[]){TEXTOID, TEXTOID, INT4OID, TEXTOID},
					(Datum[]){CStringGetTextDatum(run->overlap->connection),
							  CStringGetTextDatum(run->params), Int32GetDatum(no),
							  CStringGetTextDatum(plan[1])},
					N_RESULTS, results);
	transaction_origin = DoNotReplicateId;
	keep_rows(run, plan[0], plan[1]);
	keep_counts(run, results);
	requester_commit();
	transaction_origin = InvalidReplOriginId;

	pg_atomic_write_u32(&run->job->counters.tables_done, no);
	pg_atomic_write_u32(&run->job->counters.items_done, no);
	run->overlap->n_compared = no;
	report_compared(run);
}

static void
close_peer(JobRun *run, Jsonb *action)
{
	char *nothing[1];

	requester_begin();
	requester_select(run, "select steep_repl._overlap_end($1)", 1, (Oid[]){TEXTOID},
					 (Datum[]){CStringGetTextDatum(run->overlap->connection)}, 1, nothing);
	requester_commit();
}

static const Action actions[] = {
	{"open_peer", "planning", {ACTION_START}, open_peer},
	{"compare", "comparing", {"open_peer", "compare"}, compare, {{"no", MEMBER_COUNT}}},
	{"close_peer", "finalizing", {"open_peer", "compare"}, close_peer},
	{"complete", "complete", {"close_peer"}},
};

const ActionTable overlap_actions = ACTION_TABLE("overlap", false, actions, NULL);
