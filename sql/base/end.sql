-- Making the function in JavaScript has loaded the engine, which has taken this session's signals.
do $do$
begin
  perform steep_repl._enter_engine();
end
$do$;
