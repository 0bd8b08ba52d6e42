/*
 * toc_belongs.c
 *	  What belongs to chosen tables, views and sequences of an archive.
 *
 * The archive says what an entry depends on, but not which of those it belongs
 * to: a policy depends on its table and on each table that its condition
 * reads.  Where that makes a difference, the entry's tag begins with the name
 * of what it belongs to.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "toc/toc_choose.h"

/* How an entry that is no relation belongs to the relations that it depends on. */
typedef enum Belonging
{
	BELONGS_BY_TAG, /* to the one that its tag begins with */
	BELONGS_TO_ANY, /* depends on none but its own */
	BELONGS_TO_ALL  /* needs both sides */
} Belonging;

static const struct
{
	const char *desc;
	Belonging belonging;
} belongings[] = {
	{"CHECK CONSTRAINT", BELONGS_BY_TAG},
	{"CONSTRAINT", BELONGS_BY_TAG},
	{"DEFAULT", BELONGS_BY_TAG},
	{"FK CONSTRAINT", BELONGS_TO_ALL},
	{"INDEX", BELONGS_TO_ANY},
	{"INDEX ATTACH", BELONGS_TO_ALL},
	{"MATERIALIZED VIEW DATA", BELONGS_BY_TAG},
	{"POLICY", BELONGS_BY_TAG},
	{"ROW SECURITY", BELONGS_BY_TAG},
	{"RULE", BELONGS_BY_TAG},
	{"SEQUENCE SET", BELONGS_BY_TAG},
	{"STATISTICS", BELONGS_TO_ANY},
	{"TABLE ATTACH", BELONGS_TO_ALL},
	{"TABLE DATA", BELONGS_BY_TAG},
	{"TRIGGER", BELONGS_BY_TAG},
};

/* Whether an entry depends on a chosen table, as a sequence does on its owner. */
static bool
has_chosen_table(const Chooser *chooser, const TocEntry *entry)
{
	for (int i = 0; i < entry->ndependencies; i++)
	{
		int at;
		const TocEntry *relation = get_relation(chooser, entry->dependencies[i], &at);

		if (relation != NULL && is_table(relation) && chooser->chosen[at])
			return true;
	}
	return false;
}

/* Whether a tag is a relation's name, or that and the name of a part of it. */
static bool
tag_begins_with(const TocEntry *entry, const TocEntry *relation)
{
	size_t len = strlen(relation->tag);

	return strncmp(entry->tag, relation->tag, len) == 0 &&
		   (entry->tag[len] == '\0' || entry->tag[len] == ' ') &&
		   strcmp(schema_of(entry), schema_of(relation)) == 0;
}

/* Whether an entry belongs to a chosen relation. */
static bool
belongs(const Chooser *chooser, const TocEntry *entry, Belonging belonging)
{
	bool any = false;
	bool all = true;

	for (int i = 0; i < entry->ndependencies; i++)
	{
		int at;
		const TocEntry *relation = get_relation(chooser, entry->dependencies[i], &at);

		if (relation == NULL || (belonging == BELONGS_BY_TAG && !tag_begins_with(entry, relation)))
			continue;
		any |= chooser->chosen[at];
		all &= chooser->chosen[at];
	}
	return any && (all || belonging != BELONGS_TO_ALL);
}

/* OWNED BY has the sequence as its only dependency; the sequence knows the table. */
static bool
owner_is_chosen(const Chooser *chooser, const TocEntry *entry)
{
	for (int i = 0; i < entry->ndependencies; i++)
	{
		int at;
		const TocEntry *sequence = get_relation(chooser, entry->dependencies[i], &at);

		if (sequence != NULL && chooser->chosen[at] && has_chosen_table(chooser, sequence))
			return true;
	}
	return false;
}

/* A partition's trigger is its parent's, with a state of its own: nothing without that. */
static bool
lacks_parent_trigger(const Chooser *chooser, const TocEntry *entry)
{
	for (int i = 0; is_kind(entry, "TRIGGER") && i < entry->ndependencies; i++)
	{
		int at = toc_position(chooser->positions, entry->dependencies[i]);

		if (at >= 0 && is_kind(chooser->toc->entries.items[at], "TRIGGER") && !chooser->chosen[at])
			return true;
	}
	return false;
}

/* Whether an entry that is no relation goes with what is chosen. */
static bool
goes_along(const Chooser *chooser, const TocEntry *entry)
{
	if (is_kind(entry, "SEQUENCE OWNED BY"))
		return owner_is_chosen(chooser, entry);
	for (int i = 0; i < (int) lengthof(belongings); i++)
	{
		if (is_kind(entry, belongings[i].desc))
			return belongs(chooser, entry, belongings[i].belonging) &&
				   !lacks_parent_trigger(chooser, entry);
	}
	return false;
}

/* Choose the sequences of chosen tables, then all that goes along with relations. */
void
choose_belongings(Chooser *chooser)
{
	const TocEntries *entries = &chooser->toc->entries;

	for (int i = 0; i < entries->count; i++)
	{
		if (is_kind(entries->items[i], "SEQUENCE") && has_chosen_table(chooser, entries->items[i]))
			chooser->chosen[i] = true;
	}
	for (int i = 0; i < entries->count; i++)
	{
		CHECK_FOR_INTERRUPTS();
		if (goes_along(chooser, entries->items[i]))
			chooser->chosen[i] = true;
	}
}
