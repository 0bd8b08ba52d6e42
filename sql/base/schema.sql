-- Made here and not by the control file: so it goes with the extension, and
-- one that somebody else prepared is an error instead of a trap.
create schema steep_repl;
comment on schema steep_repl is 'steep_repl: snapshots, comparison and merge for bidirectional logical replication';
