#!/bin/bash
# Serves the registry, and frees the room of what was deleted.
#
# Two servers have the same images: one for those who push, and one that only reads, for the nodes. A password file has no
# rights by user, so the nodes' login would otherwise be one that may push.
#
# The registry itself only forgets names. Its program `garbage-collect` deletes the blobs that no manifest names any
# more, and may run only while nothing is written: a blob that was pushed before its manifest would be lost. So the
# servers rest meanwhile. Manifests without a tag stay: with --delete-untagged those of an index would go as well.
#
# CONFIG, PULL_CONFIG: configurations of the two. DATA: where it keeps everything. COLLECT_SECONDS: between two looks.
# QUIET_SECONDS: how long nothing was written before room is freed. Ends with the code of a server that ends by itself.
set -u
config=${CONFIG:-/etc/docker/registry/config.yml}
pull_config=${PULL_CONFIG:-/etc/docker/registry/config-pull.yml}
data=${DATA:-/var/lib/registry}
collect_seconds=${COLLECT_SECONDS:-3600}
quiet_seconds=${QUIET_SECONDS:-600}

servers=()

start() {
  docker-registry serve "$config" &
  servers=($!)
  docker-registry serve "$pull_config" &
  servers+=($!)
}

stop() {
  kill "${servers[@]}" 2> /dev/null
  wait "${servers[@]}" 2> /dev/null
}

# Whether nothing has been written for a while, and no upload is under way. An upload that was broken off stays for a
# week until the registry deletes it: after a day it does not count.
is_quiet() {
  local written uploads
  written=$(find "$data" -newermt "$quiet_seconds seconds ago" -print -quit 2> /dev/null) || return 1
  uploads=$(find "$data" -path '*/_uploads/*' -newermt '1 day ago' -print -quit 2> /dev/null) || return 1
  [ -z "$written$uploads" ]
}

# Whether there are blobs to delete. A registry that nothing was ever pushed to answers with a failure.
has_garbage() {
  docker-registry garbage-collect --dry-run "$config" 2> /dev/null | grep '^blob eligible for deletion' > /dev/null
}

collect() {
  echo "frees the room of deleted images"
  docker-registry garbage-collect "$config" > /dev/null &
  wait $!
}

# A signal is heard at once while bash waits for what runs in the background, so everything that takes long does.
trap 'kill $(jobs -p) 2> /dev/null; exit 0' TERM INT

start
while true; do
  sleep "$collect_seconds" &
  clock=$!
  wait -n -p ended "${servers[@]}" "$clock"
  code=$?
  if [ "$ended" != "$clock" ]; then
    kill "$clock" "${servers[@]}" 2> /dev/null
    echo "a server ended with code $code" >&2
    exit "$code"
  fi
  { is_quiet && has_garbage && is_quiet; } &
  if wait $!; then
    stop
    collect
    start
  fi
done
