-- How a peer is shown, and by what it is known again. A connection string may hold a password anywhere; so it is taken
-- apart as libpq does it, and of what cannot be, nothing is shown.

create function steep_repl._is_conninfo(peer text) returns boolean
language sql immutable strict parallel unsafe set search_path = pg_catalog, pg_temp
return peer ~ '^postgres(ql)?://' or position('=' in peer) > 0;
comment on function steep_repl._is_conninfo(text) is 'private: whether this is a connection string and not a name';

-- Of keywords that stand there twice, libpq takes the last one. Its blanks are those of ASCII, while the class of blanks of regular
-- expressions has others. It also takes a quote within a value, and a keyword right behind one; but there a quote may be missing,
-- and what looks like a keyword be a part of the password.
create function steep_repl._conninfo_pairs(conninfo text) returns jsonb
language plpgsql immutable strict parallel unsafe set search_path = pg_catalog, pg_temp as $fn$
declare
  blank constant text := e' \\t\\n\\v\\f\\r';
  pair constant text := replace(replace(e'^([B]*([^=B]+)[B]*=[B]*(''(?:[^''\\\\]|\\\\.)*''(?=[B]|$)|(?:[^B''\\\\]|\\\\.)*)[B]*)',
                                        '[B]', '[' || blank || ']'), 'B', blank);
  rest text := conninfo;
  parts text[];
  result jsonb := '{}';
begin
  while rest <> '' loop
    parts := regexp_match(rest, pair);
    if parts is null or parts[2] !~ '^[a-z_]+$' then
      return null;
    end if;
    rest := substr(rest, length(parts[1]) + 1);
    result := result || jsonb_build_object(parts[2], regexp_replace(
      case when parts[3] like '''%' then substr(parts[3], 2, length(parts[3]) - 2) else parts[3] end, e'\\\\(.)', e'\\1', 'g'));
  end loop;
  return result;
end
$fn$;
comment on function steep_repl._conninfo_pairs(text) is 'private: what a connection string of keywords and values says; NULL where that is not certain';

create function steep_repl._uri_decoded(encoded text) returns text
language plpgsql stable strict parallel unsafe set search_path = pg_catalog, pg_temp as $fn$
begin
  if encoded ~ '%(?![0-9A-Fa-f]{2})' or encoded ~ '%00' then
    return null;
  end if;
  return convert_from(coalesce((
    select string_agg(case when left(m[1], 1) = '%' then decode(substr(m[1], 2), 'hex') else convert_to(m[1], getdatabaseencoding()) end,
                      '' order by n)
    from regexp_matches(encoded, '%..|[^%]+', 'g') with ordinality r(m, n)), ''), getdatabaseencoding());
exception when character_not_in_repertoire or untranslatable_character then
  return null;
end
$fn$;
comment on function steep_repl._uri_decoded(text) is 'private: a part of an address without its escapes; NULL where it has wrong ones';

-- What a password with a character that has a meaning here makes of an address is an address, too: of those it is not
-- certain what is the password, and so they are not taken apart.
create function steep_repl._uri_pairs(uri text) returns jsonb
language plpgsql stable strict parallel unsafe set search_path = pg_catalog, pg_temp as $fn$
declare
  host constant text := e'(?:\\[[^]/?@,]+\\]|[^][/?@,:]*)(?::[0-9]*)?';
  rest constant text := regexp_replace(uri, '^postgres(ql)?://', '');
  login constant text := substring(rest from '^([^@/]*)@');
  parts constant text[] := regexp_match(case when login is null then rest else substr(rest, length(login) + 2) end,
    format('^(%1$s(?:,%1$s)*)(?:/([^?/@:]*))?(?:[?](.*))?$', host));
  hosts constant text[] := regexp_split_to_array(parts[1], ',');
  said jsonb;
  result jsonb := '{}';
  pair record;
begin
  if parts is null or parts[3] !~ '^[a-z_]+=[^=&]*(&[a-z_]+=[^=&]*)*$' then
    return null;
  end if;
  said := jsonb_build_array(
    jsonb_build_array('user', nullif(split_part(login, ':', 1), '')),
    jsonb_build_array('host', nullif((select string_agg(btrim(regexp_replace(h.h, ':[0-9]*$', ''), '[]'), ',' order by h.n)
                                      from unnest(hosts) with ordinality h(h, n)), '')),
    jsonb_build_array('port', nullif((select string_agg(coalesce(substring(h.h from ':([0-9]*)$'), ''), ',' order by h.n)
                                      from unnest(hosts) with ordinality h(h, n)), '')),
    jsonb_build_array('dbname', nullif(parts[2], '')))
    || coalesce((select jsonb_agg(jsonb_build_array(split_part(p.p, '=', 1), split_part(p.p, '=', 2)) order by p.n)
                 from regexp_split_to_table(parts[3], '&') with ordinality p(p, n)), '[]');
  for pair in select e.value ->> 0 as name, e.value ->> 1 as encoded from jsonb_array_elements(said) e where e.value ->> 1 is not null loop
    if steep_repl._uri_decoded(pair.encoded) is null then
      return null;
    end if;
    result := result || jsonb_build_object(pair.name, steep_repl._uri_decoded(pair.encoded));
  end loop;
  return result;
end
$fn$;
comment on function steep_repl._uri_pairs(text) is 'private: what a connection string that is an address says; NULL where that is not certain';

-- All that decides where libpq connects, and as whom. What looks like another connection string in it would hold a password.
create function steep_repl._peer_label(peer text) returns text
language plpgsql stable strict parallel unsafe set search_path = pg_catalog, pg_temp as $fn$
declare
  deciding constant text[] := '{host,hostaddr,port,dbname,user,service,servicefile,target_session_attrs,load_balance_hosts}';
  pairs jsonb;
begin
  if not steep_repl._is_conninfo(peer) then
    return peer;
  end if;
  pairs := case when peer ~ '^postgres(ql)?://' then steep_repl._uri_pairs(peer) else steep_repl._conninfo_pairs(peer) end;
  if exists (select from jsonb_each_text(pairs) p where p.key = any (deciding) and steep_repl._is_conninfo(p.value)) then
    return '...';
  end if;
  return coalesce((
    select string_agg(k.name || '=' || case when p.value ~ '^[A-Za-z0-9_./:,@%+-]+$' then p.value
                                            else steep_repl._quote_conninfo(p.value) end, ' ' order by k.n)
    from unnest(deciding) with ordinality k(name, n) join jsonb_each_text(pairs) p(name, value) using (name)), '...');
end
$fn$;
comment on function steep_repl._peer_label(text) is 'private: how a peer is shown, without a password; what is not understood is three dots';

-- Three dots stand for any peer, and so they prove nothing.
create function steep_repl._is_same_peer(peer text, label text) returns boolean
language sql stable parallel unsafe set search_path = pg_catalog, pg_temp
return coalesce(label <> '...' and steep_repl._peer_label(peer) = label, false);
comment on function steep_repl._is_same_peer(text, text) is 'private: whether a peer is certain to be the one that was shown like this';
