-- How the objects of a pair are called, from whichever node it was set up.

create function steep_repl._pair_part(node_id text) returns text
language sql immutable strict parallel unsafe set search_path = pg_catalog, pg_temp
return case when node_id ~ '^[a-z0-9_]{1,20}$' then node_id
            else left(regexp_replace(lower(node_id), '[^a-z0-9_]+', '_', 'g'), 11) || '_' || left(md5(node_id), 8) end;
comment on function steep_repl._pair_part(text) is 'private: a node''s part of the names of a pair: what a slot''s name may have';

-- Each node has the publication, the subscription to the other, and the slot that the other reads.
create function steep_repl._pair_names(here text, there text) returns jsonb
language sql immutable strict parallel unsafe set search_path = pg_catalog, pg_temp
return jsonb_build_object(
  'publication', format('steep_%s_%s', least(steep_repl._pair_part(here) collate "C", steep_repl._pair_part(there)),
                        greatest(steep_repl._pair_part(here) collate "C", steep_repl._pair_part(there))),
  'subscription', format('steep_%s_from_%s', steep_repl._pair_part(here), steep_repl._pair_part(there)),
  'slot', format('steep_%s_from_%s', steep_repl._pair_part(there), steep_repl._pair_part(here)));
comment on function steep_repl._pair_names(text, text) is 'private: names of what a pair consists of on this side; with the nodes exchanged, on the other';
