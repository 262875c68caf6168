//! The system's limit on the size of files (`ulimit -f`).

/// A write beyond the limit fails, as on a full disk, instead of ending the process by SIGXFSZ.
pub fn fail_writes_beyond_limit() {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        /// On Linux (but for MIPS) and macOS.
        const SIGXFSZ: i32 = 25;
        // Once there is a handler it stays for as long as the process, and the default action does not return.
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build();
        let handled = runtime.and_then(|runtime| {
            let _entered = runtime.enter();
            signal(SignalKind::from_raw(SIGXFSZ)).map(drop)
        });
        if let Err(error) = handled {
            tracing::warn!(%error, "a file beyond `ulimit -f` would end this process");
        }
    }
}
