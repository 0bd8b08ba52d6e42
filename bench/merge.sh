# shellcheck shell=bash
# shellcheck disable=SC2154 # variables of run.sh
# Merging two servers on this machine: dataset, direction, and how many of the rows differ. Beside it a statement
# written by hand, INSERT ... SELECT FROM dblink(...) of the same rows, without a comparison, locks or an audit log.
# For conflicts that is an UPDATE. Where few rows differ, a second statement finds them first, as nobody knows which they
# are: it reads all rows of the peer. The peer of bench/overlap.sh is used; it has steep_repl where the direction says "both".

cases_merge() {
  local direction
  for direction in pull push conflict; do
    echo "merge:two_million:$direction-both:million"
    echo "merge:two_million:$direction:million"
  done
  echo "merge:two_million:pull-both:10000"
  echo "merge:two_million:pull:10000"
  # few and many rows into tables of each size: what it costs is to follow from the rows
  local rows size
  for rows in 1000 100000; do
    for size in 100000 300000 2000000; do echo "merge:two_million:pull-both:$rows-of-$size merge:two_million:pull:$rows-of-$size"; done
  done
}

# Of a case's last part: how many rows the table has, and how many differ.
size_of() { case $1 in *-of-*) echo "${1#*-of-}" ;; *) echo 2000000 ;; esac; }
rows_of() { case $1 in million) echo 1000000 ;; *) echo "${1%-of-*}" ;; esac; }
step_of() { echo $(($(size_of "$1") / $(rows_of "$1"))); }

# Tables whose rows differ as wanted: each second one, say, is missing or changed on one side.
prepare_merge() {
  local step size
  step=$(step_of "$2")
  size=$(size_of "$2")
  local make=(-c "drop table if exists merged" -c "create table merged as select * from by_int where id <= $size" -c "alter table merged add primary key (id)")
  psql "${make[@]}"
  on_peer psql "${make[@]}"
  case $1 in
    pull) psql -c "delete from merged where id % $step = 0" ;;
    push) on_peer psql -c "delete from merged where id % $step = 0" ;;
    conflict) psql -c "update merged set words = 'changed' where id % $step = 0" ;;
  esac
  psql -c "vacuum analyze merged" -c checkpoint
  on_peer psql -c "vacuum analyze merged" -c checkpoint
}

merge() {
  local id strategy=prefer-local
  [ "$1" != conflict ] || strategy=prefer-remote
  id=$(psql -c "select merge_id from steep_repl.start_merge('$peer', '{public.merged}', strategy => '$strategy')")
  [ "$(psql -c "select status from steep_repl.wait_merge('$id')")" = complete ]
}

# What somebody would write who knows which rows differ.
by_hand() {
  local columns="id int, words text, doc jsonb, at timestamptz, amount numeric(20, 6)"
  local rows step
  step=$(step_of "$2")
  rows="'select * from merged where id % $step = 0') as r($columns)"
  case $1 in
    pull) psql -c "insert into merged select * from dblink('$peer', $rows" ;;
    push) on_peer psql -c "insert into merged select * from dblink('$here_conninfo', $rows" ;;
    conflict) psql -c "update merged m set words = r.words, doc = r.doc, at = r.at, amount = r.amount from dblink('$peer', $rows where m.id = r.id" ;;
  esac
}

# The same for a pull, without knowing which.
by_hand_finding() {
  psql -c "insert into merged select r.* from dblink('$peer', 'select * from merged') as r(id int, words text, doc jsonb, at timestamptz, amount numeric(20, 6)) where not exists (select from merged m where m.id = r.id)"
}

run_merge() {
  use_peer "$1"
  peer="host=127.0.0.1 port=$peer_port user=postgres dbname=$1"
  here_conninfo="host=127.0.0.1 port=$PGPORT user=postgres dbname=$1"
  on_peer psql -c "create extension if not exists dblink"
  case $2 in
    *-both) on_peer psql -c "create extension if not exists steep_repl" ;;
    *) on_peer psql -c "drop extension if exists steep_repl" ;;
  esac
  local direction=${2%-both}
  rm -f "$work"/{ours,hand,finding}
  for _ in $(seq "${RUNS:-5}"); do
    prepare_merge "$direction" "$3"
    seconds merge "$direction" >>"$work/ours"
    prepare_merge "$direction" "$3"
    seconds by_hand "$direction" "$3" >>"$work/hand"
    case $3 in *-of-*) prepare_merge "$direction" "$3"; seconds by_hand_finding >>"$work/finding" ;; esac
  done
  local rows
  rows=$(rows_of "$3")
  awk -v name="$(printf '%-8s %-14s %-14s %-18s' merge "$@")" -v o="$(median_of ours 1)" -v h="$(median_of hand 1)" -v r="$rows" \
    -v f="$([ -f "$work/finding" ] && median_of finding 1)" \
    'BEGIN { printf "%s | %7.2f s, %6.0f rows/s | by hand %7.2f s: %.2f", name, o, r / o, h, o / h
             if (f != "") printf " | finding them by hand %7.2f s: %.2f", f, o / f; print "" }'
}
