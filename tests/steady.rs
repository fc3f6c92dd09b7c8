//! A long run takes no more than a short one. A test of its own process: memory
//! is counted by process, as Linux tells it.
#![cfg(target_os = "linux")]

mod common;
#[path = "common/training.rs"]
mod training;

use std::time::Instant;

use training::Training;
use wgrad::Gpu;

/// Pages of memory that the process has in use.
fn resident() -> u64 {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap();
    text.split(' ').nth(1).unwrap().parse().unwrap()
}

/// 10,000 steps in as many submissions, each with weights of its own and its
/// gradients read back.
#[test]
fn ten_thousand_steps_take_no_more_than_a_few() {
    let own = Gpu::new().unwrap();
    let mut training = Training::new();
    let mut program = training.compile(&own).unwrap();
    // The allocators of driver and wgpu reach their size.
    for _ in 0..1000 {
        training.step(&mut program).unwrap();
    }
    let (before, pages, bits) = (own.stats(), resident(), training.bits());
    let start = Instant::now();
    for _ in 0..10_000 {
        training.step(&mut program).unwrap();
    }
    let (after, more) = (own.stats(), resident().saturating_sub(pages));
    eprintln!(
        "10,000 steps in {:.2} s, {more} pages more than {pages}",
        start.elapsed().as_secs_f64()
    );
    assert_eq!(after.submissions, before.submissions + 10_000);
    assert_eq!(
        (after.buffers, after.pipelines, after.bind_groups),
        (before.buffers, before.pipelines, before.bind_groups)
    );
    assert_ne!(training.bits(), bits);
    // 52 bytes a step.
    assert!(more < 128, "{more} pages in 10,000 steps");
}
