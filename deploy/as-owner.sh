#!/bin/sh
# Runs a command as the user who owns this file, so that reports written to a folder of the host belong to the caller
# and not to root. Compose mounts the file from the checkout: its owner is the checkout's owner.
# RUN_AS=uid:gid overrides that. OUT is the folder to hand over where the engine has just made it, as root.
set -eu
owner=${RUN_AS:-$(stat -c %u:%g "$0")}
if [ -n "${OUT:-}" ] && [ "$(stat -c %u "$OUT")" = 0 ]; then
    chown "$owner" "$OUT"
fi
if [ "${owner%%:*}" = 0 ]; then
    exec "$@"
fi
exec setpriv --reuid="${owner%%:*}" --regid="${owner##*:}" --clear-groups -- "$@"
