#!/bin/sh
# A store for this worker's inputs and outputs, and the worker on it: one action at a time, as it has one GPU.
# ENGINE is the engine's URL, PROPERTIES the platform properties, NAME=VALUE with spaces between them.
set -eu
folder=${FOLDER:-/var/lib/worker}
buildbox-casd --cas-remote="$ENGINE" --bind="unix:$folder/casd.sock" --quota-high="${QUOTA:-50G}" "$folder/casd" &
until [ -S "$folder/casd.sock" ]; do sleep 0.2; done
platform=""
for property in $PROPERTIES; do platform="$platform --platform $property"; done
# shellcheck disable=SC2086  # the properties are several words
exec buildbox-worker --bots-remote="$ENGINE" --cas-remote="unix:$folder/casd.sock" --buildbox-run=/usr/bin/buildbox-run-hosttools \
    --concurrent-jobs=1 $platform "${NAME:-$(hostname)}"
