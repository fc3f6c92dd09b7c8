//! CSV: with targets by name, by number, and without. What was read is finite.

#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use wgrad::io::csv::{ColumnRef, read_slice};

fuzz_target!(|bytes: &[u8]| {
    let name = ColumnRef::Name("label".to_string());
    for target in [None, Some(&name), Some(&ColumnRef::Index(1))] {
        if let Ok(table) = read_slice(bytes, Path::new("x.csv"), target) {
            assert!(table.features.data().iter().all(|v| v.is_finite()));
            assert_eq!(table.target.is_some(), target.is_some());
        }
    }
});
