#!/bin/sh
# wgrad beside burn, ndarray and PyTorch: an adapter if there is none, then the
# table. Arguments go to the driver: sh benches/peers/run.sh --help
set -eu
here="$(dirname "$0")"
. "$here/../../scripts/setup.sh"
exec cargo run --release --quiet --manifest-path "$here/Cargo.toml" -- "$@"
