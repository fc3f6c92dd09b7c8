#!/bin/sh
# What a GPU's compiler makes of wgrad's kernels: finds Mesa's RADV, which compiles for
# GPUs that are not there. Arguments go on: sh benches/isa/run.sh --help
set -eu
here="$(dirname "$0")"

radv=""
for folder in /usr/share/vulkan/icd.d /etc/vulkan/icd.d /usr/local/share/vulkan/icd.d "${HOME:-}/.local/share/vulkan/icd.d"; do
    for file in "$folder/radeon_icd.$(uname -m).json" "$folder"/radeon_icd*.json; do
        if [ -z "$radv" ] && [ -e "$file" ]; then
            radv="$file"
        fi
    done
done
if [ -z "$radv" ]; then
    echo "no RADV: radeon_icd*.json is in none of Vulkan's folders. Install Mesa's Vulkan drivers" >&2
    echo "(Debian and Ubuntu: apt-get install mesa-vulkan-drivers libvulkan1), then run this again" >&2
    exit 3
fi
if ! command -v cargo >/dev/null 2>&1; then
    echo "cargo is not here: install the Rust tool chain (rustup.rs, or your system's rustup package)" >&2
    exit 2
fi

# Loaders of other years read either. Mesa's layer that chooses devices has nothing to
# choose from here, and says so.
export VK_DRIVER_FILES="$radv" VK_ICD_FILENAMES="$radv" NODEVICE_SELECT=1
exec cargo run --quiet --manifest-path "$here/Cargo.toml" -- "$@"
