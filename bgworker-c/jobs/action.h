/*
 * action.h
 *	  What a job may be told to do next. Each kind of job has one table of
 *	  actions; an answer of the planner is held against it before anything is
 *	  done, since what JavaScript says is only advice.
 */
#ifndef STEEP_ACTION_H
#define STEEP_ACTION_H

#include "postgres.h"

#include "utils/jsonb.h"

typedef struct JobRun JobRun;

typedef enum MemberType
{
	MEMBER_TEXT,
	MEMBER_TEXTS,   /* an array of texts */
	MEMBER_FLAG,    /* "yes" or "no" */
	MEMBER_INTEGER, /* of 32 bits */
	MEMBER_COUNT,   /* an integer from 1 */
} MemberType;

typedef struct ActionMember
{
	const char *name;
	MemberType type;
	bool is_optional; /* may be null, or absent */
} ActionMember;

/* Of a phase's name, with its end. */
#define MAX_PHASE_LEN 16

/* In Action.after: the job has done nothing yet. */
#define ACTION_START "start"

typedef struct Action
{
	const char *kind;
	const char *phase;    /* of the job, while this is done; NULL: the answer says it */
	const char *after[8]; /* what must have been done just before: one of these */
	void (*perform)(JobRun *run, Jsonb *action); /* NULL: the job is complete */
	ActionMember members[8];                     /* besides kind, phase and warnings */
} Action;

typedef struct ActionTable
{
	const char *operation; /* of work_queue */
	bool is_resumed;       /* goes on after a crash */
	const Action *actions;
	size_t n;
	void (*give_up)(
		JobRun *run); /* called at the end of a job, whether or not it failed; may be NULL */
	bool keeps_files; /* of a job that failed, since it goes on from them */
} ActionTable;

#define ACTION_TABLE(operation, is_resumed, actions, give_up)             \
	{                                                                     \
		operation, is_resumed, actions, lengthof(actions), give_up, false \
	}

extern const ActionTable snapshot_actions;
extern const ActionTable apply_actions;
extern const ActionTable overlap_actions;
extern const ActionTable merge_actions;
extern const ActionTable undo_actions;
extern const ActionTable pair_actions;
extern const ActionTable fetch_actions;

pg_noreturn extern void wrong_answer(const char *format, ...) pg_attribute_printf(1, 2);
extern void action_register(const ActionTable *table);
extern const ActionTable *action_table(const char *operation);
extern const Action *
action_check(const ActionTable *table, const char *done, const char *expected, Jsonb *answer);
extern void action_check_number(int given, int expected);

/* Members of an answer that was checked; NULL, false or the default where an optional one is absent. */
extern char *action_text(Jsonb *action, const char *name);
extern char *action_json(Jsonb *action, const char *name);
extern bool action_flag(Jsonb *action, const char *name);
extern int action_int(Jsonb *action, const char *name, int dflt);

#endif /* STEEP_ACTION_H */
