-- The boundary to JavaScript: one string in, one string out, in ASCII.

create function steep_repl._sql(request text) returns text
language plpgsql volatile strict parallel unsafe set search_path = pg_catalog, pg_temp as $fn$
declare
  parsed jsonb;
  result text;
  state text;
  message text;
  detail text;
  hint text;
begin
  parsed := steep_repl._json_from_js(request)::jsonb;
  execute 'with q as (' || (parsed ->> 'sql') || ') select coalesce(json_agg(q), ''[]'')::text from q'
    into result using parsed -> 'params';
  return steep_repl._json_to_js('{"rows":' || result || '}');
exception when query_canceled or others then
  -- Errors go back as data: an engine survives few SQL errors and loses
  -- their SQLSTATE. A cancellation too: JavaScript must return first.
  get stacked diagnostics state = returned_sqlstate, message = message_text,
    detail = pg_exception_detail, hint = pg_exception_hint;
  return steep_repl._json_to_js(json_build_object('error', json_build_object(
    'sqlstate', state, 'message', message, 'detail', detail, 'hint', hint))::text);
end
$fn$;
comment on function steep_repl._sql(text) is 'private: runs {"sql": ..., "params": ...} for JavaScript; answers {"rows": [...]} or {"error": {...}}';

create function steep_repl._call(fn text, args jsonb) returns jsonb
language plpgsql volatile strict parallel unsafe set search_path = pg_catalog, pg_temp as $fn$
declare
  answer jsonb;
begin
  begin
    perform steep_repl._enter_engine();
    answer := steep_repl._json_from_js(steep_repl._js(
      fn, steep_repl._json_to_js(jsonb_build_object('version', '@VERSION@', 'args', args)::text)))::jsonb;
  exception when internal_error or query_canceled then
    perform steep_repl._raise_interruption();
    raise;
  end;
  if answer ? 'error' then
    if answer -> 'error' ->> 'sqlstate' = 'XX000' then
      perform steep_repl._raise_interruption();
    end if;
    perform steep_repl._raise(answer -> 'error' ->> 'sqlstate', answer -> 'error' ->> 'message',
                              answer -> 'error' ->> 'detail', answer -> 'error' ->> 'hint');
  end if;
  if not answer ? 'result' then
    perform steep_repl._raise('39000', 'JavaScript gave an answer that is none', null,
                              'Something has changed what JavaScript does in this session: reconnect.');
  end if;
  return answer -> 'result';
end
$fn$;
comment on function steep_repl._call(text, jsonb) is 'private: calls a TypeScript function and raises the error that it answers';

create function steep_repl._to_regclass(name text) returns regclass
language plpgsql stable strict parallel unsafe set search_path = pg_catalog, pg_temp as $fn$
begin
  return to_regclass(name);
exception when invalid_name or syntax_error or invalid_parameter_value or feature_not_supported then
  return null;
end
$fn$;
comment on function steep_repl._to_regclass(text) is 'private: the relation of this qualified name, NULL if there is none or the name is malformed';
