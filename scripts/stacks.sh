#!/bin/sh
# Examines every software stack that this system can have: lavapipe (Vulkan), with
# all its limits and with those that every WebGPU implementation has; SwiftShader
# (Vulkan), which comes with Chromium; llvmpipe through OpenGL. On each: a short
# card (every op and gradient, kernels, networks, bits), PyTorch's operator cases,
# and the exercise. What a stack skips is counted, with the reason.
#
# scripts/stacks.sh [--full]    --full: the whole card on each
set -eu
cd "$(dirname "$0")/.."
if [ "$(uname -s)" != Linux ]; then
    echo "scripts/stacks.sh needs Linux: these stacks are Linux packages" >&2
    exit 1
fi
card=--quick
case "${1:-}" in
"") ;;
--full) card=--card ;;
*)
    echo "usage: scripts/stacks.sh [--full]" >&2
    exit 2
    ;;
esac
. scripts/setup.sh

# install FILE PACKAGES: from Debian's and its relatives' packages, if FILE is not there.
install() {
    file=$1
    shift
    if [ -e "$file" ]; then
        return 0
    fi
    if ! command -v apt-get >/dev/null 2>&1; then
        echo "$file is not here, and there is no apt-get to install it with: install what your" >&2
        echo "system has in place of Debian's packages $*, and name the driver's file with" >&2
        echo "LAVAPIPE_ICD or SWIFTSHADER_ICD" >&2
        return 1
    fi
    echo "installing $*" >&2
    as_root apt-get update -qq >&2
    as_root env DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=300 \
        install -y -qq --no-install-recommends "$@" >&2
    if [ ! -e "$file" ]; then
        echo "$* did not bring $file; name the driver's file with LAVAPIPE_ICD or SWIFTSHADER_ICD" >&2
        return 1
    fi
}

lavapipe=${LAVAPIPE_ICD:-/usr/share/vulkan/icd.d/lvp_icd.$(uname -m).json}
swiftshader=${SWIFTSHADER_ICD:-/usr/lib/chromium/vk_swiftshader_icd.json}
install "$lavapipe" mesa-vulkan-drivers libvulkan1
install "$swiftshader" chromium
if ! PATH="$PATH:/sbin:/usr/sbin" ldconfig -p | grep -q 'libEGL_mesa\.so'; then
    install /usr/share/glvnd/egl_vendor.d/50_mesa.json libegl1 libegl-mesa0 libgl1-mesa-dri
fi

cargo build --release --quiet
wgrad=${CARGO_TARGET_DIR:-target}/release/wgrad
said=$(mktemp)
trap 'rm -f "$said"' EXIT
failed=0

# stack NAME ICD OPTIONS: the card, the cases and the exercise there.
stack() {
    name=$1
    icd=$2
    shift 2
    printf '\n%s\n' "$name"
    start=$(date +%s)
    for what in "check $card --cases tests/data/parity" ""; do
        # Words of $what are words of the command line. No cache: no tuning from elsewhere.
        # shellcheck disable=SC2086
        if VK_DRIVER_FILES=$icd VK_ICD_FILENAMES=$icd NODEVICE_SELECT=1 \
            "$wgrad" $what --no-cache --color never "$@" >"$said" 2>&1; then
            # What was skipped, and the verdict.
            sed -n '/^SKIPPED/,$p' "$said" | grep '^   ' | sed 's/^  */   skipped  /' || :
            sed -n 's/^PASS/   PASS /p' "$said"
        else
            cat "$said"
            echo "   FAIL  wgrad $what $*"
            failed=1
        fi
    done
    printf '   %s s\n' $(($(date +%s) - start))
}

stack "lavapipe, all its limits" "$lavapipe" --backend vulkan
stack "lavapipe, the limits of every WebGPU" "$lavapipe" --backend vulkan --default-limits
stack "SwiftShader" "$swiftshader" --backend vulkan
stack "llvmpipe through OpenGL" "$lavapipe" --backend gl
exit $failed
