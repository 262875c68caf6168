//! Ctrl-C and SIGTERM as a wish to stop: the first saves and stops, the second ends the process at once.

use engine::{Control, Stop};

/// Waits for the next Ctrl-C or SIGTERM.
pub async fn asked() {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        if let Ok(mut terminate) = signal(SignalKind::terminate()) {
            tokio::select! {
                _ = tokio::signal::ctrl_c() => {}
                _ = terminate.recv() => {}
            }
            return;
        }
    }
    // Without a handler the process simply ends, as it would without this.
    let _ = tokio::signal::ctrl_c().await;
}

/// A control that these signals stop, for verbs that compute on their own thread.
pub fn control() -> Control {
    let control = Control::default();
    let stopping = control.clone();
    std::thread::spawn(move || {
        let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else { return };
        runtime.block_on(async {
            asked().await;
            eprintln!("stopping: saving what is there (once more ends at once)");
            stopping.stop(Stop::Save);
            asked().await;
            std::process::exit(130);
        });
    });
    control
}
