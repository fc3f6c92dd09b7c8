#!/bin/sh
# Runs wgrad on a fresh machine: an adapter if there is none, then cargo run.
# Arguments go to wgrad: scripts/run.sh grad --help
set -eu
cd "$(dirname "$0")/.."
. scripts/setup.sh
exec cargo run --release --quiet -- "$@"
