/*
 * peer_query.c
 *	  Queries at the other database, sent and answered apart, so that both sides
 *	  can work at once. An answer is one text.
 *
 * What a peer says is a value: it is checked to be a text of this database's
 * encoding, and an error of the peer's to have a SQLSTATE.
 */
#include "peer/peer_connection.h"

#include "base/settings.h"
#include "fmgr.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "varatt.h"

PG_FUNCTION_INFO_V1(steep_repl_peer_send);
PG_FUNCTION_INFO_V1(steep_repl_peer_answer);

static PeerConnection *
connection_argument(FunctionCallInfo fcinfo)
{
	return peer_connection_find(text_to_cstring(PG_GETARG_TEXT_PP(0)));
}

static PGconn *
conn_of(const PeerConnection *peer)
{
	return peer_line_conn(peer->line);
}

static size_t
limit(void)
{
	return (size_t) steep_max_peer_answer * 1024 * 1024;
}

/* Start a query at the peer. */
Datum
steep_repl_peer_send(PG_FUNCTION_ARGS)
{
	PeerConnection *peer = connection_argument(fcinfo);
	bool ok;

	peer_line_begin_answer(peer->line, limit());
	ok = PQsendQuery(conn_of(peer), text_to_cstring(PG_GETARG_TEXT_PP(1)));
	/* most queries the network takes at once */
	if (ok && PQflush(conn_of(peer)) > 0)
		peer_run(peer, peer_line_flush);
	if (!ok || PQstatus(conn_of(peer)) != CONNECTION_OK)
		ereport(ERROR, (errcode(ERRCODE_CONNECTION_FAILURE), errmsg("peer: could not send a query"),
						errdetail_internal("%s", peer_libpq_error(conn_of(peer)))));
	PG_RETURN_VOID();
}

static char *
error_field(const PGresult *result, int code)
{
	const char *field = PQresultErrorField(result, code);

	return field == NULL || field[0] == '\0' ? NULL : peer_text(field, strlen(field));
}

/*
 * Classes 00 to 02 are none of errors. What here would mean that this session is
 * cancelled, or that no handler may see the error, does not mean that of the peer's.
 */
static int
error_state(const PGresult *result)
{
	const char *state = PQresultErrorField(result, PG_DIAG_SQLSTATE);
	int code;

	if (state == NULL || strlen(state) != 5 ||
		strspn(state, "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ") != 5 || strncmp(state, "03", 2) < 0)
		return ERRCODE_CONNECTION_FAILURE;
	code = MAKE_SQLSTATE(state[0], state[1], state[2], state[3], state[4]);
	return code == ERRCODE_QUERY_CANCELED   ? ERRCODE_OPERATOR_INTERVENTION
		   : code == ERRCODE_ASSERT_FAILURE ? ERRCODE_RAISE_EXCEPTION
											: code;
}

/* Of the peer's errors, which side they come from is the first thing to know. */
ErrorData *
peer_error_of(PeerConnection *peer, const PGresult *result)
{
	ErrorData *error = palloc0_object(ErrorData);
	char *message = error_field(result, PG_DIAG_MESSAGE_PRIMARY);

	error->sqlerrcode = error_state(result);
	error->message =
		psprintf("peer: %s", message != NULL ? message : peer_libpq_error(conn_of(peer)));
	error->detail = error_field(result, PG_DIAG_MESSAGE_DETAIL);
	error->hint = error_field(result, PG_DIAG_MESSAGE_HINT);
	error->context = error_field(result, PG_DIAG_CONTEXT);
	return error;
}

static ErrorData *
wrong_form(const char *what)
{
	ErrorData *error = palloc0_object(ErrorData);

	error->sqlerrcode = ERRCODE_PROTOCOL_VIOLATION;
	error->message = psprintf("peer: %s", what);
	return error;
}

pg_noreturn void
peer_raise(const ErrorData *error)
{
	ereport(ERROR, (errcode(error->sqlerrcode), errmsg_internal("%s", error->message),
					error->detail ? errdetail_internal("%s", error->detail) : 0,
					error->hint ? errhint("%s", error->hint) : 0,
					error->context ? errcontext("%s", error->context) : 0));
}

/* What a result says, if it is one text or none: into *answer. Else, or if it is an error, that. */
static ErrorData *
read_result(PeerConnection *peer, const PGresult *result, text **answer)
{
	const char *value;
	int len;

	if (PQresultStatus(result) == PGRES_COMMAND_OK || PQresultStatus(result) == PGRES_EMPTY_QUERY)
		return NULL;
	if (PQresultStatus(result) == PGRES_FATAL_ERROR)
		return peer_error_of(peer, result);
	if (PQresultStatus(result) != PGRES_TUPLES_OK || PQnfields(result) != 1 ||
		PQntuples(result) > 1)
		return wrong_form("an answer is not one text");
	if (PQntuples(result) == 0 || PQgetisnull(result, 0, 0))
		return NULL;
	value = PQgetvalue(result, 0, 0);
	len = PQgetlength(result, 0, 0);
	if (!pg_verify_mbstr(GetDatabaseEncoding(), value, len, true))
		return wrong_form("an answer is not in the encoding of this database");
	*answer = cstring_to_text_with_len(value, len);
	return NULL;
}

/* What the results of a query say: the first text counts, and the first error. */
typedef struct Answer
{
	text *text;
	size_t bytes; /* of all texts */
	ErrorData *error;
	bool is_empty; /* no result */
} Answer;

static Answer
read_results(PeerConnection *peer)
{
	Answer answer = {.is_empty = true};
	const PGresult *result;

	for (int i = 0; (result = peer_line_result(peer->line, i)) != NULL; i++)
	{
		text *text = NULL;
		ErrorData *error = read_result(peer, result, &text);

		if (text != NULL)
			answer.bytes += VARSIZE_ANY_EXHDR(text);
		if (answer.text == NULL)
			answer.text = text;
		if (answer.error == NULL)
			answer.error = error;
		answer.is_empty = false;
	}
	peer_line_clear_results(peer->line);
	return answer;
}

/* Wait for what the query at the peer answers: its first row's text, or NULL. */
Datum
steep_repl_peer_answer(PG_FUNCTION_ARGS)
{
	PeerConnection *peer = connection_argument(fcinfo);
	Answer answer;
	bool is_broken = false;

	peer_run(peer, peer_line_answer);
	answer = read_results(peer);
	if (answer.is_empty)
		answer.error = wrong_form("no query runs there");
	else if (peer_line_count(peer->line, answer.bytes) && answer.error == NULL)
	{
		answer.error = wrong_form("it sends too much besides its answers");
		is_broken = true;
	}
	if (is_broken || PQstatus(conn_of(peer)) != CONNECTION_OK ||
		PQtransactionStatus(conn_of(peer)) == PQTRANS_ACTIVE)
		peer_connection_drop(peer);
	if (answer.error != NULL)
		peer_raise(answer.error);
	if (answer.text == NULL)
		PG_RETURN_NULL();
	PG_RETURN_TEXT_P(answer.text);
}
