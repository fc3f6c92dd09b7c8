//! How much memory there is on the host.

/// The bytes that this process may still take of the host's memory: what the
/// system says is free, and what a limit of its address space leaves. `None` where
/// that is not known.
#[cfg(target_os = "linux")]
pub fn memory() -> Option<u64> {
    let read = |path: &str| std::fs::read_to_string(path).ok();
    let free = read("/proc/meminfo").and_then(|text| kib(&text, "MemAvailable:"));
    let used = read("/proc/self/status").and_then(|text| kib(&text, "VmSize:"));
    let limit = read("/proc/self/limits").and_then(|text| address_space(&text));
    let left = limit
        .zip(used)
        .map(|(limit, used)| limit.saturating_sub(used));
    free.into_iter().chain(left).min()
}

/// Not known on this system.
#[cfg(not(target_os = "linux"))]
pub fn memory() -> Option<u64> {
    None
}

/// A figure in KiB of one of the system's tables, in bytes.
#[cfg(target_os = "linux")]
fn kib(table: &str, name: &str) -> Option<u64> {
    let rest = table.lines().find_map(|line| line.strip_prefix(name))?;
    let number: u64 = rest.trim().strip_suffix("kB")?.trim().parse().ok()?;
    number.checked_mul(1024)
}

/// The limit of the address space in bytes, if there is one.
#[cfg(target_os = "linux")]
fn address_space(table: &str) -> Option<u64> {
    let name = "Max address space";
    let rest = table.lines().find_map(|line| line.strip_prefix(name))?;
    rest.split_whitespace().next()?.parse().ok()
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn the_systems_tables_are_read() {
        let table = "MemTotal:  100 kB\nMemAvailable:     42 kB\n";
        assert_eq!(kib(table, "MemAvailable:"), Some(42 * 1024));
        assert_eq!(kib(table, "VmSize:"), None);
        let limits =
            "Limit  Soft Limit  Hard Limit  Units\nMax address space  4096  unlimited  bytes";
        assert_eq!(address_space(limits), Some(4096));
        assert_eq!(address_space(&limits.replace("4096", "unlimited")), None);
        assert!(memory().is_some_and(|bytes| bytes > 1 << 20));
    }
}
