//! The queue: runs wait here, one thread computes them in order, and each ends in exactly one state.
//!
//! Every event of a run is stored, folded into the run's view, then sent to viewers, in this order. Viewers listen on a
//! bounded channel that drops for the slow, so none of them can hold up a run. Knows nothing of HTTP, nor of what a run
//! computes: an executor does that.
//!
//! There is one lock, on [`State`]. It is held while an event is stored, so that events are stored in the order of
//! their numbers, and never while a run is computed. The service's lock on commands is taken before it, those of
//! the store after it.

mod compute;
mod folders;
mod worker;

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use engine::{Control, Stop};
use spec::{AppError, LoggedEvent, RunEvent, RunState, RunView, StopMode};
use tokio::sync::broadcast;

use crate::clock::now_ms;
use crate::store::{Key, NewRun, RunRow, Store, StoreError};
use crate::work::{Ended, RunContext};

pub use compute::{ComputeThread, join_rayon_pool};
pub use folders::RunFolders;
pub(crate) use worker::panic_text;

/// Events that a viewer may be behind before it gets a snapshot instead.
const BACKLOG: usize = 1_024;

/// Computes a run, blocking, and says how it goes. Never emits `State` or `Output`: those are written here.
pub type Executor = Box<dyn FnMut(&RunContext, &mut dyn FnMut(RunEvent)) -> Result<Ended, AppError>>;

/// Makes an executor on the thread that computes; again after a panic, since what it held may be half changed.
pub type MakeExecutor = Box<dyn FnMut() -> Executor + Send>;

#[derive(Clone, Debug)]
pub enum Notice {
    Event(Arc<LoggedEvent>),
    /// Cells or runs of the experiment changed.
    Changed {
        experiment: i64,
    },
}

pub struct Jobs {
    store: Arc<Store>,
    folders: RunFolders,
    limit: usize,
    state: Mutex<State>,
    changed: Condvar,
    notices: broadcast::Sender<Notice>,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<i64>,
    slot: Slot,
    /// No more runs are started.
    closing: bool,
    /// Runs that are queued or under way.
    active: HashMap<i64, Active>,
}

/// What the thread that computes does now.
#[derive(Default)]
enum Slot {
    #[default]
    Idle,
    Running {
        run: i64,
        control: Control,
    },
}

struct Active {
    experiment: i64,
    /// The fold of its log so far.
    view: RunView,
}

impl Jobs {
    /// Marks what an earlier process left under way as interrupted, then lets the thread that computes take runs.
    pub fn open(
        store: Arc<Store>,
        folders: RunFolders,
        limit: u32,
        compute: ComputeThread,
        make: MakeExecutor,
    ) -> Result<Arc<Self>, AppError> {
        let jobs = Arc::new(Self {
            store,
            folders,
            limit: limit as usize,
            state: Mutex::default(),
            changed: Condvar::new(),
            notices: broadcast::channel(BACKLOG).0,
        });
        for row in jobs.store.cut_off_runs()? {
            let view = jobs.store.view(&row)?;
            let mut state = jobs.state();
            state.active.insert(row.id, Active { experiment: row.experiment, view });
            jobs.interrupt(&mut state, row.id);
        }
        let worker = Arc::clone(&jobs);
        compute.run(move || worker::work(&worker, make))?;
        Ok(jobs)
    }

    /// Writes a plan down and queues it, all or none: runs that are over and continue from what they saved, then new ones.
    /// Refuses with `queue_full` where they do not fit.
    pub fn submit(&self, experiment: i64, resumed: &[RunRow], new: &[NewRun], key: Key<'_>) -> Result<(), AppError> {
        let mut state = self.state();
        if state.closing {
            return Err(AppError::conflict("The server is shutting down.", "Start it again, then try again."));
        }
        let (waiting, more) = (state.waiting.len(), resumed.len() + new.len());
        if waiting + more > self.limit {
            return Err(AppError::queue_full(
                format!("{waiting} runs are waiting and {more} more would exceed the limit of {}.", self.limit),
                "Wait until some have finished, or stop some, then try again.",
            ));
        }
        let mut views = resumed.iter().map(|row| self.store.view(row)).collect::<Result<Vec<_>, _>>()?;
        let last: Vec<(i64, u64)> = views.iter().map(|view| (view.run, view.seq)).collect();
        let (rows, events) = self.store.queue(experiment, &last, new, key)?;
        views.extend(rows.into_iter().map(|row| RunView::new(row.id, row.cell, row.config, row.created_ms)));
        for (mut view, event) in views.into_iter().zip(events) {
            view.apply(&event);
            state.waiting.push_back(view.run);
            state.active.insert(view.run, Active { experiment, view });
            self.notify(Notice::Event(Arc::new(event)));
        }
        self.changed.notify_all();
        self.notify(Notice::Changed { experiment });
        Ok(())
    }

    pub fn waiting(&self) -> usize {
        self.state().waiting.len()
    }

    pub fn limit(&self) -> usize {
        self.limit
    }

    /// Whether a run is computed or waits.
    pub fn is_busy(&self) -> bool {
        let state = self.state();
        !state.waiting.is_empty() || !matches!(state.slot, Slot::Idle)
    }

    /// A waiting run ends at once; a running one as soon as its work looks at its control.
    pub fn stop(&self, run: i64, mode: StopMode) -> Result<(), AppError> {
        let mut state = self.state();
        if let Some(place) = state.waiting.iter().position(|waiting| *waiting == run) {
            state.waiting.remove(place);
            return Ok(self.append(&mut state, run, RunEvent::State { state: RunState::Stopped, error: None })?);
        }
        match &state.slot {
            Slot::Running { run: running, control } if *running == run => {
                control.stop(match mode {
                    StopMode::Save => Stop::Save,
                    StopMode::Discard => Stop::Discard,
                });
                self.mark_stopping(&mut state, run);
                Ok(())
            }
            _ => {
                Err(AppError::conflict(format!("Run {run} is not under way."), "Reload the page to see how it ended."))
            }
        }
    }

    /// The folded log of a run that is queued or under way.
    pub fn view(&self, run: i64) -> Option<RunView> {
        self.state().active.get(&run).map(|active| active.view.clone())
    }

    pub fn subscribe(&self) -> broadcast::Receiver<Notice> {
        self.notices.subscribe()
    }

    /// Tells viewers that cells of an experiment changed.
    pub fn notify_changed(&self, experiment: i64) {
        self.notify(Notice::Changed { experiment });
    }

    /// Stops the running run, saving what it has, and takes no more. Returns when it has stopped, or after `patience`.
    pub fn shutdown(&self, patience: Duration) {
        let deadline = Instant::now() + patience;
        let mut state = self.state();
        state.closing = true;
        self.changed.notify_all();
        for run in std::mem::take(&mut state.waiting) {
            self.interrupt(&mut state, run);
        }
        if let Slot::Running { run, control } = &state.slot {
            control.stop(Stop::Save);
            let run = *run;
            self.mark_stopping(&mut state, run);
        }
        while let Slot::Running { run, .. } = state.slot {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                tracing::warn!(run, "the run did not stop in time; when resumed it continues from its last checkpoint");
                self.interrupt(&mut state, run);
                return;
            }
            state = self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Lets the thread that computes end, where it waits for a run.
    pub fn close(&self) {
        self.state().closing = true;
        self.changed.notify_all();
    }

    /// Refused for a run that is not active: after its last state nothing follows. Storing the last state cannot fail.
    fn append(&self, state: &mut State, run: i64, event: RunEvent) -> Result<(), StoreError> {
        let active = state.active.get_mut(&run).ok_or(StoreError::NotFound { what: "active run", id: run })?;
        let (experiment, seq) = (active.experiment, active.view.seq + 1);
        let mut logged = LoggedEvent { run, seq, at_ms: now_ms(), event };
        let entered = match &logged.event {
            RunEvent::State { state, .. } => Some(*state),
            _ => None,
        };
        if entered.is_some_and(RunState::is_over) {
            active.view.apply(&logged);
            self.store.end(&logged, &active.view);
            state.active.remove(&run);
        } else {
            logged = self.store.append(&logged)?;
            active.view.apply(&logged);
        }
        self.notify(Notice::Event(Arc::new(logged)));
        if entered.is_some() {
            self.notify(Notice::Changed { experiment });
        }
        Ok(())
    }

    /// Only says so; that it is not stored on a full disk, or that the run ended just now, changes nothing.
    fn mark_stopping(&self, state: &mut State, run: i64) {
        if state.active.get(&run).is_some_and(|active| active.view.state == RunState::Running) {
            let _ = self.append(state, run, RunEvent::State { state: RunState::Stopping, error: None });
        }
    }

    fn interrupt(&self, state: &mut State, run: i64) {
        let Some(active) = state.active.get(&run) else { return };
        let error = if active.view.state == RunState::Queued { never_began() } else { cut_off() };
        let _ = self.append(state, run, RunEvent::State { state: RunState::Interrupted, error: Some(error) });
    }

    fn notify(&self, notice: Notice) {
        // Without a listener there is nobody to tell.
        let _ = self.notices.send(notice);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Why a run that was under way is interrupted.
fn cut_off() -> AppError {
    AppError::interrupted(
        "The server ended while this run was under way.",
        "Resume it: it continues from what it saved.",
    )
}

fn never_began() -> AppError {
    AppError::interrupted("The server ended before this run's turn came.", "Choose Run all, or resume it.")
}
