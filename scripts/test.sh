#!/bin/sh
# Passes the tests on a fresh machine: an adapter if there is none, then cargo
# test. Arguments go to cargo test.
set -eu
cd "$(dirname "$0")/.."
. scripts/setup.sh
exec cargo test "$@"
