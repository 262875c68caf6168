//! Signals that ask the program to stop: the first one saves and stops, the second one ends the process at once.

use engine::{Control, Stop};

use super::output::note;

/// Of a process that a second signal ended: 128 + SIGINT, as shells report it.
const EXIT_STATUS: i32 = 130;

/// Waits for the next Ctrl-C, SIGTERM or SIGHUP.
pub async fn requested() {
    #[cfg(unix)]
    if unix::requested().await.is_ok() {
        return;
    }
    // Without a handler the process simply ends, as it would without this.
    let _ = tokio::signal::ctrl_c().await;
}

/// For the second signal.
pub async fn exit_when_requested() -> ! {
    requested().await;
    std::process::exit(EXIT_STATUS)
}

/// A control that these signals stop, for commands that compute on the main thread.
pub fn control() -> Control {
    let control = Control::default();
    let stopping = control.clone();
    std::thread::spawn(move || {
        let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else { return };
        runtime.block_on(async {
            requested().await;
            stopping.stop(Stop::Save);
            note(STOPPING);
            exit_when_requested().await
        })
    });
    control
}

pub const STOPPING: &str = "stopping after saving; a second signal ends the process at once";

#[cfg(unix)]
mod unix {
    use std::future::pending;

    use tokio::signal::unix::{SignalKind, signal};

    pub async fn requested() -> std::io::Result<()> {
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        // Under `nohup` the process is to outlive its terminal, so an ignored SIGHUP stays ignored.
        let mut hangup = if hangup_is_ignored() { None } else { Some(signal(SignalKind::hangup())?) };
        let hangup = async {
            match &mut hangup {
                Some(hangup) => hangup.recv().await,
                None => pending().await,
            }
        };
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hangup => {}
        }
        Ok(())
    }

    /// Asks /proc, since the system call needs unsafe code; false where there is no /proc.
    fn hangup_is_ignored() -> bool {
        const SIGHUP_BIT: u64 = 1;
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
        let ignored = ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
        ignored.is_some_and(|mask| mask & SIGHUP_BIT != 0)
    }
}
