//! How much memory a plan may take: what the caller allows, or what there is. A
//! driver often hands out more than it has, and fails later and worse.

use super::device::Gpu;
use crate::error::{Error, Result};
use crate::number::bytes;
use crate::plan::{Plan, stride};

impl Gpu {
    /// The bytes that a plan may take:
    /// [`GpuOptions::max_memory`](super::GpuOptions) and, for a software adapter
    /// on Linux, what the system has left for this process, whichever is less.
    /// `None` where neither is known: no adapter says how much memory it has.
    pub fn memory(&self) -> Option<u64> {
        let own = self.inner.max_memory;
        let left = self.target().software.then(of_host).flatten();
        own.into_iter().chain(left).min()
    }

    /// Refuses a plan that takes more than [`memory`](Gpu::memory). Compiling
    /// asks this, too.
    ///
    /// # Errors
    /// [`Error::Limit`] with both figures.
    pub fn check_memory(&self, plan: &Plan) -> Result<()> {
        let (needs, most) = (needed(plan), self.memory());
        let Some(most) = most.filter(|&most| needs > most) else {
            return Ok(());
        };
        let whose = match self.inner.max_memory == Some(most) {
            true => "it was allowed",
            false => "this process has left",
        };
        Err(Error::Limit(format!(
            "the plan needs {} of memory on the device, more than the {} that {whose}; make the \
             batch smaller, or ask for fewer values",
            bytes(needs),
            bytes(most)
        )))
    }

    /// The largest batch of fewer than `rows` rows whose plan fits into
    /// [`memory`](Gpu::memory); 0 if none does. `plan` makes the plan of so many.
    ///
    /// # Errors
    /// Those of `plan`, but for [`Error::Limit`]: what passes a limit does not fit.
    pub fn largest_batch(
        &self,
        rows: usize,
        plan: impl Fn(usize) -> Result<Plan>,
    ) -> Result<usize> {
        let (mut fits, mut too_many) = (0, rows);
        while fits + 1 < too_many {
            let middle = fits + (too_many - fits) / 2;
            match plan(middle).and_then(|plan| self.check_memory(&plan)) {
                Ok(()) => fits = middle,
                Err(Error::Limit(_)) => too_many = middle,
                Err(other) => return Err(other),
            }
        }
        Ok(fits)
    }
}

/// The bytes that a program of this plan takes on the device: its buffers, and
/// the one through which outputs are read back.
pub(super) fn needed(plan: &Plan) -> u64 {
    let numel = |o: &crate::plan::Output| match plan.replicas {
        1 => o.shape.numel(),
        n => n * stride(o.shape.numel()),
    };
    let read: u64 = plan.outputs.iter().map(|o| 4 * numel(o) as u64).sum();
    plan.bytes() + read
}

/// The bytes that this process may still take of the host's memory: what the
/// system says is free, and what a limit of its address space leaves.
#[cfg(target_os = "linux")]
fn of_host() -> Option<u64> {
    let read = |path: &str| std::fs::read_to_string(path).ok();
    let free = read("/proc/meminfo").and_then(|text| kib(&text, "MemAvailable:"));
    let used = read("/proc/self/status").and_then(|text| kib(&text, "VmSize:"));
    let limit = read("/proc/self/limits").and_then(|text| address_space(&text));
    let left = limit
        .zip(used)
        .map(|(limit, used)| limit.saturating_sub(used));
    free.into_iter().chain(left).min()
}

#[cfg(not(target_os = "linux"))]
fn of_host() -> Option<u64> {
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
        assert!(of_host().is_some_and(|bytes| bytes > 1 << 20));
    }
}
