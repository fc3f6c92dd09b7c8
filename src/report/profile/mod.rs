//! A profile for people and for programs: [`text`] the costliest kernels and where a
//! step's time goes, [`json`] every figure, [`trace`] the steps event by event for
//! chrome://tracing and ui.perfetto.dev.

mod chrome;
mod json;
#[cfg(feature = "cli")]
mod text;

pub use chrome::trace;
pub use json::json;
#[cfg(feature = "cli")]
pub use text::text;

use super::bench::digits;
use crate::profile::{Item, Profile, Roofline};

/// What the counted figures count, for whoever reads them.
pub const COUNTED: &str = "\
a step is forward, loss and every weight gradient, in one submission, the loss read back; flops \
are 2mnk for each matrix product, one for each element that an elementwise op writes (whatever \
function it is) or a sum reads, and of several dispatches for one op the first has them all; bytes \
are each buffer that a dispatch binds, once, and may come from a cache; peaks are what a \
multiply-add kernel and a copy or a read reach in this run; a dispatch is bound by \
arithmetic (its flops at that peak) or memory (its bytes at that peak), whichever takes longer, or, \
if both take less than a launch, by latency";

/// Rates of an item that took so many seconds.
struct Rates {
    flops_per_s: f64,
    bytes_per_s: f64,
    flops_share: f64,
    bytes_share: f64,
}

impl Rates {
    /// `None` if it took no time that a clock can tell.
    fn of(item: &Item, roofline: &Roofline, seconds: f64) -> Option<Rates> {
        if seconds <= 0.0 {
            return None;
        }
        let (flops, bytes) = (item.flops as f64, item.bytes as f64);
        let [least_flops, least_bytes] = roofline.least_s(item);
        Some(Rates {
            flops_per_s: flops / seconds,
            bytes_per_s: bytes / seconds,
            flops_share: least_flops / seconds,
            bytes_share: least_bytes / seconds,
        })
    }
}

/// By which clock the items are timed, in a sentence.
fn clock(profile: &Profile) -> String {
    if let Some(reason) = &profile.unstamped {
        return format!(
            "the host's, since {reason}: each kernel is submitted alone, and its time goes from \
             its submission to the answer"
        );
    }
    let alignment = &profile.alignment;
    let slack = digits(alignment.slack_s * 1e6);
    match alignment.common {
        true => format!(
            "the adapter's timestamps, a pass for each kernel; their zero is laid over the host's \
             by one offset, with which no step begins before its submission: up to {slack} us too \
             early"
        ),
        false => format!(
            "the adapter's timestamps, a pass for each kernel; they drift from the host's clock, \
             so each step is drawn from its submission on: up to {slack} us too early"
        ),
    }
}
