//! A profile as text for a terminal.

use std::fmt::Write;

use super::{COUNTED, Rates, clock};
use crate::bench::Summary;
use crate::profile::{Parts, Profile};
use crate::report::bench::{bytes, digits, giga, percent, rate, seconds};
use crate::report::palette::{HEADING, MISMATCH, PLAIN};
use crate::report::text::{plain_table, write_described, write_paragraph};
use crate::report::{adapter_lines, precision_line};

/// Rows of the table of kernels.
const MOST: usize = 10;

// Writing to a `String` cannot fail, so the results of `write!` are dropped.

/// The tables; of a step that is wrong, what is wrong with it.
pub fn text(profile: &Profile) -> String {
    let mut out = adapter_lines(&profile.adapter);
    out.push_str(&precision_line(profile.precision));
    let peaks = &profile.roofline.peaks;
    let _ = writeln!(
        out,
        "peaks    multiply-add {} GFLOP/s, copy {} GB/s (read and written), read {} GB/s, a launch {}",
        digits(peaks.flops_per_s / 1e9),
        digits(peaks.copy_bytes_per_s / 1e9),
        digits(peaks.read_bytes_per_s / 1e9),
        seconds(Some(profile.roofline.launch_s)),
    );
    let _ = writeln!(
        out,
        "step     {} under {}, batch {}, checked: {} values within their bounds",
        profile.net,
        profile.loss,
        profile.batch,
        profile.verdict.values - profile.verdict.failures
    );
    let _ = writeln!(out, "clock    {}", clock(profile));
    if let Some(line) = wrong(profile) {
        let _ = writeln!(out, "\n{MISMATCH}{line}{PLAIN}");
    }
    if profile.steps.is_empty() {
        return out;
    }
    kernels(&mut out, profile);
    step(&mut out, profile);
    out.push('\n');
    write_paragraph(&mut out, &format!("counted: {COUNTED}"));
    out
}

/// What is wrong with the step, if anything is.
fn wrong(profile: &Profile) -> Option<String> {
    let verdict = &profile.verdict;
    let reason = verdict.wrong.as_ref()?;
    Some(format!(
        "WRONG {}, batch {}: {} of {} values; {reason}",
        profile.net, profile.batch, verdict.failures, verdict.values
    ))
}

/// A number of operations.
fn operations(count: u64) -> String {
    match count {
        0..1000 => count.to_string(),
        _ => rate(Some(count as f64)),
    }
}

fn kernels(out: &mut String, profile: &Profile) {
    let costliest = profile.costliest();
    let shown = costliest.len().min(MOST);
    let _ = writeln!(
        out,
        "\n{HEADING}THE COSTLIEST KERNELS AND COPIES{PLAIN}, {shown} of {} a step (medians of {} steps)\n",
        costliest.len(),
        profile.steps.len()
    );
    let mut table = plain_table();
    table.set_header(vec![
        "computes", "kernel", "time", "of step", "FLOP", "bytes", "GFLOP/s", "of peak", "GB/s",
        "of peak", "bound by",
    ]);
    let whole = profile.median(|p| p.whole);
    for place in costliest.into_iter().take(MOST) {
        let item = &profile.items[place];
        let time = profile.times(place).median;
        let rates = Rates::of(item, &profile.roofline, time);
        let rates = rates.as_ref();
        // What has no arithmetic has no rate of it.
        let arithmetic = |text: String| {
            if item.flops == 0 {
                "-".to_string()
            } else {
                text
            }
        };
        table.add_row(vec![
            item.name.clone(),
            match item.kernel.as_str() {
                "" => item.op.clone(),
                kernel => kernel.to_string(),
            },
            seconds(Some(time)),
            percent(Some(time / whole)),
            arithmetic(operations(item.flops)),
            bytes(item.bytes),
            arithmetic(giga(rates.map(|r| r.flops_per_s))),
            arithmetic(percent(rates.map(|r| r.flops_share))),
            giga(rates.map(|r| r.bytes_per_s)),
            percent(rates.map(|r| r.bytes_share)),
            profile.roofline.bound(item).to_string(),
        ]);
    }
    write_described(out, &table);
}

/// A part of a step: its name, its time, what it is.
type Part = (&'static str, fn(&Parts) -> f64, &'static str);

/// What the host does, one after the other.
const HOST: [Part; 4] = [
    ("encode", |p| p.encode, "the host records the commands"),
    ("submit", |p| p.submit, "and hands them to the driver"),
    ("wait", |p| p.wait, "until the device has answered"),
    ("readback", |p| p.readback, "the host copies what was read"),
];

/// What the device does meanwhile.
const DEVICE: [Part; 5] = [
    ("GPU: kernels", |p| p.kernels, "all dispatches"),
    ("GPU: images", |p| p.images, "copies into images"),
    ("GPU: copy", |p| p.copy, "of what is read"),
    ("GPU: gaps", |p| p.gaps, "between kernels and copies"),
    (
        "GPU: idle",
        |p| (p.submit + p.wait - p.device).max(0.0),
        "submit and wait, before its first kernel and after its last copy",
    ),
];

fn step(out: &mut String, profile: &Profile) {
    let _ = writeln!(out, "\n{HEADING}WHERE A STEP'S TIME GOES{PLAIN}\n");
    let mut table = plain_table();
    table.set_header(vec!["part", "time", "of step", ""]);
    let whole = profile.median(|p| p.whole);
    let mut add = |name: &str, time: f64, what: &str| {
        let share = percent(Some(time / whole));
        table.add_row(vec![name, &seconds(Some(time)), &share, what]);
    };
    for (name, part, what) in HOST {
        add(name, profile.median(part), what);
    }
    add("step", whole, "all of these");
    // By the host's clock a kernel's time has all of this in it.
    for (name, part, what) in DEVICE.iter().filter(|_| profile.stamped()) {
        add(name, profile.median(part), what);
    }
    let plain = profile.plain.iter().map(|t| t.total_s()).collect();
    let plain = Summary::of(plain, 0).median;
    add(
        "untraced",
        plain,
        "the same step without a pass and stamps for each kernel",
    );
    let on_device: Option<Vec<f64>> = profile.plain.iter().map(|t| t.gpu_s).collect();
    if let Some(times) = on_device {
        let time = Summary::of(times, 0).median;
        add("its GPU part", time, "from the first kernel to the last");
    }
    write_described(out, &table);
}
