#!/bin/sh
# Run a program as somebody whom PostgreSQL accepts: it refuses to run as root.
#
#   usage: scripts/unprivileged.sh PROGRAM ARGUMENT...
#          scripts/unprivileged.sh --own PATH...     give PATHs to that user, where needed
#
# The program replaces this process, so that its process id is the one that the caller knows.
set -eu

if [ "$(id -u)" != 0 ]; then
  [ "$1" != --own ] || exit 0
  exec "$@"
fi

# initdb looks its user up, so that it must be one that exists
for user in postgres daemon nobody; do
  uid=$(id -u "$user" 2>/dev/null) && gid=$(id -g "$user") && break
done

# In a user namespace, root's own files belong to the user: nothing needs another owner.
if unshare --user --map-user="$uid" --map-group="$gid" true 2>/dev/null; then
  [ "$1" != --own ] || exit 0
  exec unshare --user --map-user="$uid" --map-group="$gid" "$@"
fi

if [ "$1" = --own ]; then
  shift
  exec chown -R "$uid:$gid" "$@"
fi
exec setpriv --reuid="$uid" --regid="$gid" --clear-groups "$@"
