-- What functions of the tables' own do not find: nearly always because the caller's search_path used to find it. An error that names what is
-- missing only would leave a DBA with a name that is there.

create function steep_repl._merge_raise_missing(state text, message text, context text) returns void
language plpgsql volatile strict parallel unsafe set search_path = pg_catalog, pg_temp as $fn$
declare
  line constant text := split_part(context, chr(10), 1);
begin
  perform steep_repl._raise(
    state, message, case when line like '% function %' and position('steep_repl.' in line) = 0 then line || '.' end,
    'Where a function of the table''s (of a trigger, a constraint, an index, a column) relies on the caller''s search_path: that is pg_catalog here, as it is for'
    || ' subscriptions. Give the function its own, on both sides (ALTER FUNCTION ... SET search_path = schema, ...), then retry_operation() goes on.');
end
$fn$;
comment on function steep_repl._merge_raise_missing(text, text, text) is 'private: raises an error of something that is missing, with what to do; context: that of the error';
