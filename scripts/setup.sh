# Sourced by run.sh and test.sh: makes sure that there is something to compute
# on. With an adapter in place it changes nothing; without one it installs
# Mesa's software Vulkan driver, which needs no GPU.

# The command that runs as root: nothing for root itself, sudo where it exists.
as_root() {
    if [ "$(id -u)" -eq 0 ]; then
        "$@"
    elif command -v sudo >/dev/null 2>&1; then
        sudo "$@"
    else
        echo "this needs root: $*" >&2
        return 1
    fi
}

# The loader, wherever the system keeps its libraries. (Debian keeps ldconfig
# off an ordinary user's path.)
has_vulkan_loader() {
    PATH="$PATH:/sbin:/usr/sbin" ldconfig -p 2>/dev/null | grep -q 'libvulkan\.so'
}

has_vulkan_driver() {
    if [ -n "${VK_DRIVER_FILES:-}${VK_ICD_FILENAMES:-}" ]; then
        return 0
    fi
    has_vulkan_loader || return 1
    # A driver describes itself in one of these folders; the loader finds it there.
    for folder in /usr/share/vulkan/icd.d /etc/vulkan/icd.d /usr/local/share/vulkan/icd.d "$HOME/.local/share/vulkan/icd.d"; do
        for file in "$folder"/*.json; do
            if [ -e "$file" ]; then
                return 0
            fi
        done
    done
    return 1
}

install_software_adapter() {
    echo "no Vulkan driver found: installing Mesa's software one" >&2
    if command -v apt-get >/dev/null 2>&1; then
        as_root apt-get update -qq >&2
        as_root env DEBIAN_FRONTEND=noninteractive \
            apt-get install -y -qq --no-install-recommends mesa-vulkan-drivers libvulkan1 >&2
    elif command -v dnf >/dev/null 2>&1; then
        as_root dnf install -y mesa-vulkan-drivers vulkan-loader >&2
    elif command -v pacman >/dev/null 2>&1; then
        as_root pacman -S --needed --noconfirm vulkan-swrast vulkan-icd-loader >&2
    else
        echo "install your system's Mesa Vulkan drivers, then run this again" >&2
        return 1
    fi
}

if [ "$(uname -s)" = Linux ] && ! has_vulkan_driver; then
    install_software_adapter
fi

if ! command -v cargo >/dev/null 2>&1; then
    echo "cargo is not here: install the Rust tool chain (rustup.rs, or your system's rustup package)" >&2
    exit 1
fi
