//! The command line. Data goes to stdout, everything else to stderr; the exit
//! code says how it ended (`wgrad --help` lists the codes).

mod cli;

use std::process::ExitCode;

fn main() -> ExitCode {
    quiet_mesa();
    #[cfg(unix)]
    end_an_abort_in_words();
    cli::run()
}

/// Memory that cannot be had ends a process by SIGABRT, in Rust and in a driver's
/// C++ alike. It is to end with a message and the code of the exit codes' list.
#[cfg(unix)]
fn end_an_abort_in_words() {
    extern "C" fn aborted(_: libc::c_int) {
        const TEXT: &[u8] = b"error: out of memory, or a fault in the driver: the process was \
            stopped; make the batch smaller, or leave the comparison out with --no-check\n";
        // SAFETY: both calls may be made in a signal handler, and TEXT is static.
        #[allow(unsafe_code)]
        unsafe {
            libc::write(libc::STDERR_FILENO, TEXT.as_ptr().cast(), TEXT.len());
            libc::_exit(5);
        }
    }
    let handler = aborted as extern "C" fn(libc::c_int) as libc::sighandler_t;
    // SAFETY: the handler does no more than a handler may.
    #[allow(unsafe_code)]
    unsafe {
        libc::signal(libc::SIGABRT, handler);
    }
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
