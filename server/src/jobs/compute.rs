//! The thread that computes.

use std::sync::mpsc::{SyncSender, sync_channel};

use spec::AppError;

type Work = Box<dyn FnOnce() + Send>;

/// A thread in rayon's pool that waits for its one piece of work; it ends with it, or when this is dropped.
///
/// It must be started before the device is opened: opening uses rayon, and whoever uses rayon first builds the pool.
pub struct ComputeThread(SyncSender<Work>);

impl ComputeThread {
    pub fn start() -> Result<Self, AppError> {
        let (sender, receiver) = sync_channel::<Work>(1);
        let (joined, wait) = sync_channel(1);
        let body = move || {
            join_rayon_pool();
            // Nobody waits any more if the start was given up.
            let _ = joined.send(());
            if let Ok(work) = receiver.recv() {
                work();
            }
        };
        std::thread::Builder::new().name("compute".to_owned()).spawn(body).map_err(|error| {
            AppError::internal(format!("The compute thread could not be started: {error}."), "Free some memory.")
        })?;
        // An error means that the thread is gone, which shows when it gets its work.
        let _ = wait.recv();
        Ok(Self(sender))
    }

    pub fn run(self, work: impl FnOnce() + Send + 'static) -> Result<(), AppError> {
        let gone = |_| AppError::internal("The compute thread has ended.", "Start again.");
        self.0.send(Box::new(work)).map_err(gone)
    }
}

/// Logs a pool that was built without this thread.
pub fn join_rayon_pool() {
    if let Err(error) = engine::threads::join_rayon_pool() {
        tracing::warn!(%error, "the compute thread is not in rayon's pool: small kernels start later");
    }
}
