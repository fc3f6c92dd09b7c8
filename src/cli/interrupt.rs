//! What happens when a person or the system stops the process: files that are
//! being written are removed, and the process ends as it would have without that.

/// Sees to it that a process that is stopped (Ctrl-C, `kill`, a terminal that is
/// closed) leaves no half-written file. Where that cannot be had, a signal ends
/// the process at once, as ever.
#[cfg(unix)]
pub fn clean_up_when_stopped() {
    use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
    use signal_hook::{iterator::Signals, low_level};

    let signals = [SIGHUP, SIGINT, SIGTERM];
    let heeded: Vec<_> = signals.into_iter().filter(|&s| !is_ignored(s)).collect();
    let (ready, installed) = std::sync::mpsc::channel();
    let wait = move || {
        let Ok(mut signals) = Signals::new(heeded) else {
            return;
        };
        // Whoever waits for this goes on at once; if nobody does, that is fine.
        let _ = ready.send(());
        if let Some(signal) = signals.forever().next() {
            wgrad::file::give_up();
            super::progress::give_up();
            // By the signal itself, so that a shell's script stops, too.
            let _ = low_level::emulate_default_handler(signal);
            low_level::exit(128 + signal);
        }
    };
    // Signals are caught by the thread, which alone must be there by then.
    if std::thread::Builder::new().spawn(wait).is_ok() {
        let _ = installed.recv();
    }
}

/// Whether the process was started with this signal ignored, by `nohup` or by a
/// shell's `&`. That is to stay so.
#[cfg(unix)]
fn is_ignored(signal: libc::c_int) -> bool {
    // SAFETY: without a new action the call does no more than fill in the old
    // one, which is plain data.
    #[allow(unsafe_code)]
    unsafe {
        let mut old: libc::sigaction = std::mem::zeroed();
        libc::sigaction(signal, std::ptr::null(), &raw mut old) == 0
            && old.sa_sigaction == libc::SIG_IGN
    }
}

/// Sees to it that a process that is stopped (Ctrl-C, a console that is closed)
/// leaves no half-written file.
#[cfg(windows)]
pub fn clean_up_when_stopped() {
    // Where it cannot be had, the system ends the process at once, as ever.
    let _ = ctrlc::set_handler(|| {
        wgrad::file::give_up();
        super::progress::give_up();
        /// How Windows ends a process on Ctrl-C (STATUS_CONTROL_C_EXIT).
        const STOPPED: i32 = 0xC000_013A_u32 as i32;
        std::process::exit(STOPPED);
    });
}

#[cfg(not(any(unix, windows)))]
pub fn clean_up_when_stopped() {}
