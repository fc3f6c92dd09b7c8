//! The texts of networks and losses. What was read prints as a text that means
//! the same.

#![no_main]

use libfuzzer_sys::fuzz_target;
use wgrad::nn::{Loss, Network};

fuzz_target!(|text: &str| {
    if let Ok(network) = Network::parse(text) {
        assert_eq!(Network::parse(&network.to_string()), Ok(network));
    }
    if let Ok(loss) = Loss::parse(text) {
        assert_eq!(Loss::parse(&loss.to_string()), Ok(loss));
    }
});
