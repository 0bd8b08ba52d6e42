#!/usr/bin/env bash
# Run a command with a container engine: the one that runs already, or else, on Debian and as root,
# one of our own, which is stopped when the command ends. What it stores is in build/engine, so that
# an image that one command has built is there for the next.
#
#   usage: scripts/with-engine.sh COMMAND...      scripts/with-engine.sh bash, to look around
#
# Exit code 77: there is no engine and none can be started; the reason is the last line of stderr.
set -uo pipefail
cd "$(dirname "$0")/.." || exit

say() { printf 'with-engine: %s\n' "$*" >&2; }
unable() { say "$*"; exit 77; }

[ $# -gt 0 ] || { say "usage: $0 COMMAND..."; exit 1; }

# The command alone does not tell: it may be there without an engine.
answers() { command -v docker >/dev/null && docker info >/dev/null 2>&1; }
answers && exec "$@"

[ "$(id -u)" = 0 ] || unable "no container engine answers, and only root could start one"
if [ ! -f /etc/debian_version ] || ! command -v apt-get >/dev/null; then
  unable "no container engine answers, and only on Debian one would be installed"
fi

store=$PWD/build/engine
work=
daemon=
# The bridge and the rules of the packet filter are the machine's: one such engine at a time.
exec 8>/run/lock/steep-repl-engine
flock -n 8 || { say "waiting for the engine of another checkout to end"; flock 8; }

# Services are not to be started by the installation: what runs afterwards must be what we stop.
install_engine() {
  local policy=/usr/sbin/policy-rc.d own=
  say "installing docker.io"
  [ -e "$policy" ] || { printf '#!/bin/sh\nexit 101\n' >"$policy" && chmod 755 "$policy" && own=1; }
  apt-get update -qq >&2 &&
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends docker.io >"$work/install" 2>&1
  local status=$?
  [ -z "$own" ] || rm -f "$policy"
  [ "$status" -eq 0 ] || { cat "$work/install" >&2; unable "docker.io could not be installed"; }
}

# The engine is ours alone, so everything in it but images can go.
# shellcheck disable=SC2317 # called by the trap
empty_engine() {
  docker ps -aq | xargs -r docker rm -f -v
  docker volume ls -q | xargs -r docker volume rm -f
  docker network ls -q --filter type=custom | xargs -r docker network rm
}

note_network() {
  had_bridge=$(ls -d /sys/class/net/docker0 2>/dev/null)
  had_rules=$(iptables-save 2>/dev/null | grep -c DOCKER)
  forward_policy=$(iptables -S FORWARD 2>/dev/null | sed -n 's/^-P FORWARD //p')
  forwards=$(cat /proc/sys/net/ipv4/ip_forward)
}

# dockerd leaves its bridge and its rules, and lets the machine forward packets.
# shellcheck disable=SC2317 # called by the trap
restore_network() {
  [ -n "$had_bridge" ] || ip link delete docker0 2>/dev/null
  [ "$had_rules" = 0 ] || return
  iptables-save | grep -vE 'DOCKER|docker0' | sed "s/^:FORWARD [A-Z]*/:FORWARD ${forward_policy:-ACCEPT}/" | iptables-restore
  echo "$forwards" >/proc/sys/net/ipv4/ip_forward
}

# shellcheck disable=SC2317 # called by the trap
finish() {
  trap '' INT TERM HUP
  if [ -n "$daemon" ] && kill -0 "$daemon" 2>/dev/null; then
    empty_engine >/dev/null 2>&1
    kill "$daemon"
    wait "$daemon"
    restore_network
  fi
  [ -z "$work" ] || rm -rf "$work"
}
trap finish EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM

start_engine() {
  local tries
  mkdir -p "$store"
  note_network
  # its session of its own keeps Ctrl-C from reaching it before we have emptied it
  setsid dockerd --data-root "$store" --exec-root "$work/exec" --pidfile "$work/pid" \
    --host "unix://$work/docker.sock" >"$store/log" 2>&1 8>&- &
  daemon=$!
  export DOCKER_HOST=unix://$work/docker.sock
  for ((tries = 300; tries > 0; tries--)); do
    answers && return
    kill -0 "$daemon" 2>/dev/null || break
    sleep 0.1
  done
  tail -n 5 "$store/log" >&2
  unable "dockerd did not start: see $store/log"
}

# a socket's path has at most 107 bytes, and the checkout's can be longer
work=$(mktemp -d)
command -v dockerd >/dev/null || install_engine
command -v docker >/dev/null || install_engine
start_engine
say "started an engine of our own"

"$@" 8>&- &
command=$!
status=
# a signal ends the wait; it is for the command, and we leave when that has
for signal in INT TERM HUP; do
  # shellcheck disable=SC2064 # these are known now
  trap "kill -TERM $command 2>/dev/null" "$signal"
done
while wait "$command"; status=$?; kill -0 "$command" 2>/dev/null; do :; done
exit "$status"
