/*
 * never.c
 *	  What the files of our parsers call besides, and no parser does. Without
 *	  the server's headers: of each only the name matters.
 */
#include <stdio.h>
#include <stdlib.h>

#define NEVER(name)                                                \
	void name(void);                                               \
	void name(void)                                                \
	{                                                              \
		fputs(#name " was called: it needs a stand-in\n", stderr); \
		abort();                                                   \
	}

NEVER(InitMaterializedSRF)
NEVER(OidOutputFunctionCall)
NEVER(ProcessInterrupts)
NEVER(ZSTD_maxCLevel)
NEVER(ZSTD_minCLevel)
NEVER(construct_array_builtin)
NEVER(cstring_to_text)
NEVER(superuser)
NEVER(tuplestore_putvalues)
