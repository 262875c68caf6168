//! The queue: runs wait here, one thread of its own computes them in order, and each ends in exactly one state.
//!
//! Owns what is live: the queue, the stop flags, the folded logs of active runs. Knows nothing of HTTP, nor of
//! what a run computes: an executor does that.

mod folders;
mod live;
mod worker;

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use engine::{Control, Stop};
use spec::{AppError, CellConfig, GeneratedPair, RunEvent, RunState, RunView, StopMode};
use tokio::sync::broadcast;

use crate::store::{RunRow, Store, StoreError};
use crate::work::{Ended, Input};

pub use folders::RunFolders;
use live::LiveLog;
pub use live::Notice;

/// All that an executor needs to compute one run.
pub struct Assignment {
    pub run: i64,
    /// The experiment's name.
    pub experiment: String,
    pub config: CellConfig,
    /// This run's artifacts; exists.
    pub folder: std::path::PathBuf,
    pub inputs: Vec<Input>,
    /// Of an earlier, cut-off execution of this run.
    pub done_pairs: Vec<GeneratedPair>,
    pub control: Control,
}

/// Computes a run, blocking, and says how it goes. Never emits `State` or `Output`: those are written here.
pub type Executor = Box<dyn FnMut(&Assignment, &mut dyn FnMut(RunEvent)) -> Result<Ended, AppError>>;

/// Makes an executor on the thread that computes; again after a panic, since what it held may be half changed.
pub type MakeExecutor = Box<dyn FnMut() -> Executor + Send>;

pub struct Jobs {
    store: Arc<Store>,
    folders: RunFolders,
    live: LiveLog,
    limit: usize,
    queue: Mutex<Queue>,
    changed: Condvar,
}

#[derive(Default)]
struct Queue {
    waiting: VecDeque<i64>,
    running: Option<(i64, Control)>,
    closing: bool,
}

impl Jobs {
    /// Marks what an earlier process left under way as interrupted, then starts the thread that computes.
    pub fn open(store: Arc<Store>, folders: RunFolders, limit: u32, make: MakeExecutor) -> Result<Arc<Self>, AppError> {
        let live = LiveLog::new(Arc::clone(&store));
        let jobs = Arc::new(Self {
            store,
            folders,
            live,
            limit: limit as usize,
            queue: Mutex::default(),
            changed: Condvar::new(),
        });
        for row in jobs.store.cut_off_runs()? {
            jobs.live.begin(&row, jobs.store.view(&row)?);
            jobs.interrupt(row.id)?;
        }
        let worker = Arc::clone(&jobs);
        std::thread::Builder::new().name("compute".to_owned()).spawn(move || worker::work(&worker, make)).map_err(
            |error| {
                AppError::internal(
                    format!("The thread that computes could not be started: {error}."),
                    "Free some memory.",
                )
            },
        )?;
        Ok(jobs)
    }

    /// Refuses with `queue_full` where `more` runs do not fit.
    pub fn make_room(&self, more: usize) -> Result<(), AppError> {
        let queue = self.queue();
        if queue.closing {
            return Err(AppError::conflict("The server is shutting down.", "Start it again, then try again."));
        }
        let waiting = queue.waiting.len();
        if waiting + more > self.limit {
            return Err(AppError::queue_full(
                format!("{waiting} runs are waiting and {more} more would exceed the limit of {}.", self.limit),
                "Wait until some have finished, or stop some, then try again.",
            ));
        }
        Ok(())
    }

    pub fn waiting(&self) -> usize {
        self.queue().waiting.len()
    }

    pub fn limit(&self) -> usize {
        self.limit
    }

    /// Queues runs that were just written down.
    pub fn admit(&self, rows: &[RunRow]) -> Result<(), StoreError> {
        for row in rows {
            self.live.begin(row, self.store.view(row)?);
        }
        self.enqueue(rows);
        Ok(())
    }

    /// Queues a run that is over once more, to go on from what it saved.
    pub fn admit_again(&self, row: &RunRow) -> Result<(), StoreError> {
        self.live.begin(row, self.store.view(row)?);
        self.live.append(row.id, RunEvent::State { state: RunState::Queued, error: None })?;
        self.enqueue(std::slice::from_ref(row));
        Ok(())
    }

    fn enqueue(&self, rows: &[RunRow]) {
        self.queue().waiting.extend(rows.iter().map(|row| row.id));
        self.changed.notify_all();
        for row in rows {
            self.live.changed(row.experiment);
        }
    }

    /// A waiting run ends at once; a running one as soon as its work looks at its flag.
    pub fn stop(&self, run: i64, mode: StopMode) -> Result<(), AppError> {
        let mut queue = self.queue();
        if let Some(place) = queue.waiting.iter().position(|waiting| *waiting == run) {
            queue.waiting.remove(place);
            self.live.append(run, RunEvent::State { state: RunState::Stopped, error: None })?;
            return Ok(());
        }
        match &queue.running {
            Some((running, control)) if *running == run => {
                control.stop(match mode {
                    StopMode::Save => Stop::Save,
                    StopMode::Discard => Stop::Discard,
                });
                // Where the run ended just now there is nothing left to say.
                let _ = self.live.append_from(
                    run,
                    RunState::Running,
                    RunEvent::State { state: RunState::Stopping, error: None },
                );
                Ok(())
            }
            _ => {
                Err(AppError::conflict(format!("Run {run} is not under way."), "Reload the page to see how it ended."))
            }
        }
    }

    /// The folded log of a run that is queued or under way.
    pub fn view(&self, run: i64) -> Option<RunView> {
        self.live.view(run)
    }

    pub fn subscribe(&self) -> broadcast::Receiver<Notice> {
        self.live.subscribe()
    }

    /// Tells viewers that cells of an experiment changed.
    pub fn notify(&self, experiment: i64) {
        self.live.changed(experiment);
    }

    /// Stops the running run, saving what it has, and takes no more. Returns when it has stopped, or after `patience`.
    pub fn shutdown(&self, patience: Duration) {
        let deadline = Instant::now() + patience;
        let mut queue = self.queue();
        queue.closing = true;
        self.changed.notify_all();
        for run in std::mem::take(&mut queue.waiting) {
            if let Err(error) = self.interrupt(run) {
                tracing::error!(run, %error, "a waiting run could not be marked as interrupted");
            }
        }
        if let Some((run, control)) = &queue.running {
            control.stop(Stop::Save);
            let _ = self.live.append_from(
                *run,
                RunState::Running,
                RunEvent::State { state: RunState::Stopping, error: None },
            );
        }
        while let Some((run, _)) = &queue.running {
            let run = *run;
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                tracing::warn!(run, "the run did not stop in time; it goes on from its last checkpoint when resumed");
                if let Err(error) = self.interrupt(run) {
                    tracing::error!(run, %error, "the run could not be marked as interrupted");
                }
                return;
            }
            queue = self.changed.wait_timeout(queue, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn interrupt(&self, run: i64) -> Result<(), StoreError> {
        let begun = self.live.view(run).is_some_and(|view| view.state != RunState::Queued);
        let error = if begun { cut_off() } else { never_began() };
        self.live.append(run, RunEvent::State { state: RunState::Interrupted, error: Some(error) })
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Why a run that was under way is interrupted.
fn cut_off() -> AppError {
    AppError::interrupted("The server ended while this run was under way.", "Resume it: it goes on from what it saved.")
}

fn never_began() -> AppError {
    AppError::interrupted("The server ended before this run's turn came.", "Choose Run all, or resume it.")
}
