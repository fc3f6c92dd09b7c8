//! The command line. Data goes to stdout, everything else to stderr; the exit
//! code says how it ended (`wgrad --help` lists the codes).

mod cli;

use std::process::ExitCode;

fn main() -> ExitCode {
    quiet_mesa();
    env_logger::Builder::new()
        .filter_level(log::LevelFilter::Off)
        .parse_default_env()
        .init();
    cli::run()
}

/// Mesa's device-selection layer writes a line of noise to stderr when there
/// is no desktop session. wgrad orders adapters itself, so the layer is turned
/// off there, unless the user steers it.
fn quiet_mesa() {
    let set = |name: &str| std::env::var_os(name).is_some();
    if !set("XDG_RUNTIME_DIR") && !set("MESA_VK_DEVICE_SELECT") && !set("NODEVICE_SELECT") {
        // SAFETY: called first thing in main, while this is the only thread.
        #[allow(unsafe_code)] // set_var is unsafe since edition 2024
        unsafe {
            std::env::set_var("NODEVICE_SELECT", "1");
        }
    }
}
