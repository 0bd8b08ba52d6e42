/*
 * stand_ins.c
 *	  What our parsers call of the server.
 *
 * Each palloc is a malloc of its own, so that the sanitizer sees where it ends;
 * in a server it would be a part of a block. An error jumps back to whoever ran
 * the parser, and everything that was allocated goes.
 */
#include "sanitize.h"

#include <setjmp.h>

#include "common/string.h"
#include "lib/stringinfo.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "varatt.h"

/* More than any of the inputs justifies. */
#define MOST_BYTES ((Size) 64 * 1024 * 1024)

static struct MemoryContextData current;
static struct MemoryContextData top;
MemoryContext CurrentMemoryContext = &current;
MemoryContext TopMemoryContext = &top;
volatile sig_atomic_t InterruptPending = false;

static MemoryContextCallback *callbacks;

/* All that is allocated, but in TopMemoryContext. */
static void **allocations;
static size_t n_allocations;
static size_t room;

static sigjmp_buf on_error;
static int database_encoding = PG_UTF8;
volatile uint8 seen;

/* Read bytes, as whoever gets a parser's result will. */
void
look_at(const void *bytes, size_t len)
{
	for (size_t i = 0; i < len; i++)
		seen ^= ((const uint8 *) bytes)[i];
}

/* Give a parser its input; false where it raised an error. */
bool
run_guarded(void (*run)(const char *input, size_t len), const char *input, size_t len)
{
	volatile bool ok = false;

	if (sigsetjmp(on_error, 0) == 0)
	{
		run(input, len);
		ok = true;
	}
	for (; callbacks != NULL; callbacks = callbacks->next)
		callbacks->func(callbacks->arg);
	while (n_allocations > 0)
		free(allocations[--n_allocations]);
	return ok;
}

/* ---- errors: what they say is made and read, and no more */

bool
errstart(int elevel, const char *domain)
{
	return elevel >= ERROR;
}

bool
errstart_cold(int elevel, const char *domain)
{
	return errstart(elevel, domain);
}

void
errfinish(const char *filename, int lineno, const char *funcname)
{
	siglongjmp(on_error, 1);
}

int
errcode(int sqlerrcode)
{
	return 0;
}

static int
say(const char *format, va_list args)
{
	char text[1024];

	vsnprintf(text, sizeof(text), format, args);
	look_at(text, strlen(text));
	return 0;
}

#define SAYS(name)                 \
	int name(const char *fmt, ...) \
	{                              \
		va_list args;              \
                                   \
		va_start(args, fmt);       \
		say(fmt, args);            \
		va_end(args);              \
		return 0;                  \
	}

SAYS(errmsg)
SAYS(errmsg_internal)
SAYS(errdetail)
SAYS(errdetail_internal)
SAYS(errhint)

void
report_invalid_encoding(int encoding, const char *mbstr, int len)
{
	look_at(mbstr, Min(len, pg_encoding_mblen_or_incomplete(encoding, mbstr, len)));
	ereport(ERROR, (errmsg("invalid byte sequence")));
}

/* ---- memory */

static void *
keep(void *pointer)
{
	if (n_allocations == room)
	{
		room = Max(1024, room * 2);
		allocations = realloc(allocations, room * sizeof(void *));
	}
	allocations[n_allocations++] = pointer;
	return pointer;
}

/* Where it is in the list; n_allocations where it is not. */
static size_t
place_of(const void *pointer)
{
	for (size_t i = n_allocations; i > 0; i--)
		if (allocations[i - 1] == pointer)
			return i - 1;
	return n_allocations;
}

static void
check_size(Size size)
{
	if (size > MOST_BYTES)
		ereport(ERROR, (errmsg("out of memory")));
}

void *
MemoryContextAllocExtended(MemoryContext context, Size size, int flags)
{
	void *pointer;

	check_size(size);
	pointer = malloc(size);
	/* bytes that nobody has written are no zeros */
	memset(pointer, (flags & MCXT_ALLOC_ZERO) != 0 ? 0 : 'n', size);
	return context == TopMemoryContext ? pointer : keep(pointer);
}

void *
MemoryContextAlloc(MemoryContext context, Size size)
{
	return MemoryContextAllocExtended(context, size, 0);
}

void *
MemoryContextAllocZero(MemoryContext context, Size size)
{
	return MemoryContextAllocExtended(context, size, MCXT_ALLOC_ZERO);
}

void *
MemoryContextAllocHuge(MemoryContext context, Size size)
{
	return MemoryContextAllocExtended(context, size, 0);
}

void *
palloc(Size size)
{
	return MemoryContextAllocExtended(CurrentMemoryContext, size, 0);
}

void *
palloc0(Size size)
{
	return MemoryContextAllocExtended(CurrentMemoryContext, size, MCXT_ALLOC_ZERO);
}

void *
palloc_extended(Size size, int flags)
{
	return MemoryContextAllocExtended(CurrentMemoryContext, size, flags);
}

void *
repalloc(void *pointer, Size size)
{
	size_t place = place_of(pointer);
	void *moved;

	check_size(size);
	moved = realloc(pointer, size);
	if (place < n_allocations)
		allocations[place] = moved;
	return moved;
}

void *
repalloc_huge(void *pointer, Size size)
{
	return repalloc(pointer, size);
}

void
pfree(void *pointer)
{
	size_t place = place_of(pointer);

	if (place < n_allocations)
		allocations[place] = allocations[--n_allocations];
	free(pointer);
}

char *
MemoryContextStrdup(MemoryContext context, const char *string)
{
	size_t size = strlen(string) + 1;

	return memcpy(MemoryContextAlloc(context, size), string, size);
}

char *
pstrdup(const char *in)
{
	return MemoryContextStrdup(CurrentMemoryContext, in);
}

char *
pnstrdup(const char *in, Size len)
{
	char *copy;

	len = strnlen(in, len);
	copy = palloc(len + 1);
	memcpy(copy, in, len);
	copy[len] = '\0';
	return copy;
}

MemoryContext
AllocSetContextCreateInternal(MemoryContext parent, const char *name, Size minContextSize,
							  Size initBlockSize, Size maxBlockSize)
{
	return CurrentMemoryContext;
}

void
MemoryContextRegisterResetCallback(MemoryContext context, MemoryContextCallback *cb)
{
	cb->next = callbacks;
	callbacks = cb;
}

/* ---- text */

void
set_database_encoding(int encoding)
{
	database_encoding = encoding;
}

int
GetDatabaseEncoding(void)
{
	return database_encoding;
}

bool
pg_verify_mbstr(int encoding, const char *mbstr, int len, bool noError)
{
	if (pg_encoding_verifymbstr(encoding, mbstr, len) == len)
		return true;
	if (!noError)
		report_invalid_encoding(encoding, mbstr, len);
	return false;
}

bool
pg_verifymbstr(const char *mbstr, int len, bool noError)
{
	return pg_verify_mbstr(database_encoding, mbstr, len, noError);
}

char *
pg_server_to_any(const char *s, int len, int encoding)
{
	return unconstify(char *, s);
}

char *
pg_any_to_server(const char *s, int len, int encoding)
{
	return unconstify(char *, s);
}

text *
cstring_to_text_with_len(const char *s, int len)
{
	text *result = palloc(len + VARHDRSZ);

	SET_VARSIZE(result, len + VARHDRSZ);
	memcpy(VARDATA(result), s, len);
	return result;
}

char *
text_to_cstring(const text *t)
{
	return pnstrdup(VARDATA_ANY(t), VARSIZE_ANY_EXHDR(t));
}

struct varlena *
pg_detoast_datum(struct varlena *datum)
{
	return datum;
}

struct varlena *
pg_detoast_datum_packed(struct varlena *datum)
{
	return datum;
}

const char *
quote_identifier(const char *ident)
{
	return psprintf("\"%s\"", ident);
}

char *
quote_qualified_identifier(const char *qualifier, const char *ident)
{
	return qualifier == NULL ? psprintf("\"%s\"", ident)
							 : psprintf("\"%s\".\"%s\"", qualifier, ident);
}

/* ---- libraries that the host's C library may be too old for */

size_t
strlcpy(char *dst, const char *src, size_t siz)
{
	size_t len = strlen(src);

	if (siz > 0)
	{
		memcpy(dst, src, Min(len, siz - 1));
		dst[Min(len, siz - 1)] = '\0';
	}
	return len;
}

long __isoc23_strtol(const char *text, char **end, int base);
long
__isoc23_strtol(const char *text, char **end, int base)
{
	return strtol(text, end, base);
}
