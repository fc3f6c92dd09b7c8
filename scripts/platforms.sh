#!/bin/sh
# Type-checks wgrad for systems that this one is not, without linking or running
# anything: library and command line for Metal (macOS) and DX12 (Windows), the
# library for a browser. A warning is an error.
#   sh scripts/platforms.sh [metal] [dx12] [browser]     (all three by default)
# The standard library of each system is rustup's where that has it, else it is
# compiled by Debian's compiler, which comes with its source.
set -eu
cd "$(dirname "$0")/.."

debian_cargo=/usr/bin/cargo
debian_rustc=/usr/bin/rustc
# Of their own: two compilers do not share what they made.
debian_target=target/platforms

rustup_has() {
    command -v rustup >/dev/null 2>&1 &&
        rustup target list --installed 2>/dev/null | grep -qx "$1"
}

# Whether Debian's tool chain is there, with the source of its standard library.
# The packages of this name that are not `-web` may be older than wgrad needs.
debian_has_source() {
    [ -x "$debian_cargo" ] && [ -x "$debian_rustc" ] || return 1
    minor=$("$debian_rustc" --version | sed -n 's/^rustc 1\.\([0-9]*\).*/\1/p')
    [ "${minor:-0}" -ge "$needed_minor" ] || return 1
    [ -e "$("$debian_rustc" --print sysroot)/lib/rustlib/src/rust/library/Cargo.lock" ]
}
needed_minor=$(sed -n 's/^rust-version = "1\.\([0-9]*\).*/\1/p' Cargo.toml)

explain() {
    cat >&2 <<END
error: the standard library for $1 is not here. Either of these brings it:
  with rustup:  rustup target add $1
  on Debian:    sudo apt-get install rustc-web cargo-web rust-web-src binutils-mingw-w64-x86-64
END
    exit 1
}

# check NAME TARGET KIND...: each KIND is what is checked, as cargo's options.
check() {
    name=$1
    target=$2
    shift 2
    echo "$name ($target)" >&2
    if rustup_has "$target"; then
        for kind in "$@"; do
            # shellcheck disable=SC2086 # options are to be split
            cargo rustc --locked --quiet --profile check --target "$target" $kind -- -D warnings
        done
    elif debian_has_source; then
        # The compiler asks this tool for the import libraries of Windows.
        if [ "$name" = dx12 ] && ! command -v x86_64-w64-mingw32-dlltool >/dev/null 2>&1; then
            explain "$target"
        fi
        for kind in "$@"; do
            # To build a standard library is not yet stable, so it must be allowed.
            # shellcheck disable=SC2086 # options are to be split
            RUSTC_BOOTSTRAP=1 RUSTC="$debian_rustc" "$debian_cargo" rustc --locked --quiet \
                -Zbuild-std=std,panic_abort --target-dir "$debian_target" \
                --profile check --target "$target" $kind -- -D warnings
        done
    else
        explain "$target"
    fi
}

[ $# -gt 0 ] || set -- metal dx12 browser
for name in "$@"; do
    case $name in
        metal) check metal aarch64-apple-darwin "--lib" "--bin wgrad" ;;
        dx12) check dx12 x86_64-pc-windows-gnu "--lib" "--bin wgrad" ;;
        browser) check browser wasm32-unknown-unknown "--lib --no-default-features" \
            "--lib --no-default-features --features pictures" ;;
        *)
            echo "error: there is no \`$name\`; there are metal, dx12 and browser" >&2
            exit 2
            ;;
    esac
done
echo "type-checked for: $*; nothing was linked or run" >&2
