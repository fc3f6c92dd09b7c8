//! What becomes of a run when the device fails under it: a typed error, and
//! whoever kept host copies goes on with a new device to the same bits.

mod common;
#[path = "common/training.rs"]
mod training;

use common::gpu;
use training::Training;
use wgrad::run::gpu::Fault;
use wgrad::{Error, Gpu};

const STEPS: usize = 100;

/// The weights after all steps on a device that never fails.
fn undisturbed() -> Vec<u32> {
    let mut training = Training::new();
    let mut program = training.compile(gpu()).unwrap();
    let before = training.bits();
    for _ in 0..STEPS {
        training.step(&mut program).unwrap();
    }
    assert_ne!(training.bits(), before);
    training.bits()
}

/// Plants `fault` behind each submission of a run in turn. `expected` judges the
/// error; `go_on` gives the device for the rest of the run.
fn at_every_submission(
    fault: Fault,
    expected: impl Fn(&Error) -> bool,
    go_on: impl Fn(&Gpu) -> Gpu,
) {
    let want = undisturbed();
    let mut gpu = Gpu::new().unwrap();
    for at in 0..STEPS {
        let mut training = Training::new();
        let mut program = training.compile(&gpu).unwrap();
        gpu.plant(gpu.stats().submissions + at as u64, fault);
        let mut errors = 0;
        for step in 0..STEPS {
            let Err(error) = training.step(&mut program) else {
                continue;
            };
            assert_eq!(step, at, "{error}");
            assert!(expected(&error), "{fault:?} at {at}: {error:?}");
            errors += 1;
            gpu = go_on(&gpu);
            program = training.compile(&gpu).unwrap();
            training.step(&mut program).unwrap();
        }
        assert_eq!(errors, 1, "{fault:?} at {at} went unnoticed");
        assert_eq!(training.bits(), want, "{fault:?} at {at}");
    }
}

#[test]
fn a_device_that_is_lost_at_any_submission() {
    at_every_submission(
        Fault::Destroy,
        |error| matches!(error, Error::DeviceLost(_)),
        |_| Gpu::new().unwrap(),
    );
}

/// The device is none the worse for it: a new program on it goes on.
#[test]
fn a_map_that_fails_at_any_submission() {
    at_every_submission(
        Fault::Map,
        |error| matches!(error, Error::DeviceLost(_) | Error::Gpu(_)),
        Gpu::clone,
    );
}

#[test]
fn a_wait_that_times_out_at_any_submission() {
    at_every_submission(
        Fault::Wait,
        |error| matches!(error, Error::Timeout(_)),
        Gpu::clone,
    );
}

/// Not even a new program is needed: what was late is waited for by the next run.
#[test]
fn a_program_goes_on_after_a_timeout() {
    let want = undisturbed();
    let own = Gpu::new().unwrap();
    let mut training = Training::new();
    let mut program = training.compile(&own).unwrap();
    let mut timeouts = 0;
    for step in 0..STEPS {
        if step % 3 == 1 {
            own.plant(own.stats().submissions, Fault::Wait);
            match training.step(&mut program) {
                Err(Error::Timeout(_)) => timeouts += 1,
                other => panic!("{other:?}"),
            }
        }
        training.step(&mut program).unwrap();
    }
    assert_eq!((timeouts, training.bits()), (33, want));
}
