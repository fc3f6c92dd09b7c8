//! What bounds a dispatch: the roofline of the adapter's measured peaks, with the
//! time of a launch as its floor.

use std::fmt;

use super::Item;
use crate::bench::Peaks;

/// What the adapter can do at best.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Roofline {
    /// Arithmetic and memory.
    pub peaks: Peaks,
    /// Seconds of a dispatch that does next to nothing, by the same clock as the
    /// others.
    pub launch_s: f64,
}

/// What an item cannot be faster than.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Bound {
    /// Its operations at the adapter's peak.
    Arithmetic,
    /// Its bytes at the adapter's peak.
    Memory,
    /// Neither: both would take less than a launch does. What such a dispatch takes
    /// is its launch, and waiting for one thing after the other.
    Latency,
}

impl Bound {
    /// In one word.
    pub fn name(self) -> &'static str {
        match self {
            Bound::Arithmetic => "arithmetic",
            Bound::Memory => "memory",
            Bound::Latency => "latency",
        }
    }
}

impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Roofline {
    /// The most bytes per second that were seen: of a copy, read and written both
    /// counted, or of a kernel that reads.
    pub fn bytes_per_s(&self) -> f64 {
        let peaks = &self.peaks;
        peaks.copy_bytes_per_s.max(peaks.read_bytes_per_s)
    }

    /// The seconds that an item takes at least, by its operations and by its bytes.
    pub fn least_s(&self, item: &Item) -> [f64; 2] {
        [
            item.flops as f64 / self.peaks.flops_per_s,
            item.bytes as f64 / self.bytes_per_s(),
        ]
    }

    /// The largest of what an item takes at least.
    pub fn bound(&self, item: &Item) -> Bound {
        let [arithmetic, memory] = self.least_s(item);
        if arithmetic.max(memory) < self.launch_s {
            Bound::Latency
        } else if arithmetic > memory {
            Bound::Arithmetic
        } else {
            Bound::Memory
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::Role;
    use crate::run::gpu::Task;

    fn item(flops: u64, bytes: u64) -> Item {
        Item {
            task: Task::Dispatch(0),
            name: String::new(),
            op: String::new(),
            nodes: Vec::new(),
            kernel: String::new(),
            role: Role::Forward,
            workgroups: 1,
            flops,
            bytes,
        }
    }

    /// 100 GFLOP/s, 10 GB/s, 10 us a launch: the ridge is at 10 operations a byte.
    #[test]
    fn the_largest_of_three_bounds() {
        let roofline = Roofline {
            peaks: Peaks {
                copy_bytes_per_s: 10e9,
                read_bytes_per_s: 8e9,
                flops_per_s: 100e9,
            },
            launch_s: 10e-6,
        };
        for (flops, bytes, want) in [
            (100_000_000, 1_000_000, Bound::Arithmetic),
            (11_000_000, 1_000_000, Bound::Arithmetic),
            (9_000_000, 1_000_000, Bound::Memory),
            (0, 1_000_000, Bound::Memory),
            (999_000, 99_000, Bound::Latency),
            (1_100_000, 99_000, Bound::Arithmetic),
            (0, 0, Bound::Latency),
        ] {
            let item = item(flops, bytes);
            assert_eq!(roofline.bound(&item), want, "{flops} {bytes}");
        }
        assert_eq!(roofline.least_s(&item(100_000, 10_000)), [1e-6, 1e-6]);
    }
}
