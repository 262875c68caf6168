//! Logs of active runs: each event is stored, folded into the run's view, then told to viewers, in this order.
//!
//! Viewers listen on a bounded channel that drops for the slow, so none of them can hold up a run.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use spec::{LoggedEvent, RunEvent, RunState, RunView};
use tokio::sync::broadcast;

use crate::store::{RunRow, Store, StoreError, now_ms};

/// Events that a viewer may be behind before it gets a snapshot instead.
const BACKLOG: usize = 1_024;

#[derive(Clone, Debug)]
pub enum Notice {
    Event(Arc<LoggedEvent>),
    /// Cells or runs of the experiment changed.
    Changed {
        experiment: i64,
    },
}

pub struct LiveLog {
    store: Arc<Store>,
    active: Mutex<HashMap<i64, Active>>,
    notices: broadcast::Sender<Notice>,
}

struct Active {
    experiment: i64,
    view: RunView,
}

impl LiveLog {
    pub fn new(store: Arc<Store>) -> Self {
        Self { store, active: Mutex::default(), notices: broadcast::channel(BACKLOG).0 }
    }

    /// From now on events of this run may be appended. `view` is the fold of its log so far.
    pub fn begin(&self, row: &RunRow, view: RunView) {
        self.active().insert(row.id, Active { experiment: row.experiment, view });
    }

    /// Refused for a run that is not active: after its last state nothing follows.
    pub fn append(&self, run: i64, event: RunEvent) -> Result<(), StoreError> {
        let mut active = self.active();
        self.append_locked(&mut active, run, event)
    }

    /// Appends only where the run is in this state now.
    pub fn append_from(&self, run: i64, from: RunState, event: RunEvent) -> Result<(), StoreError> {
        let mut active = self.active();
        match active.get(&run) {
            Some(entry) if entry.view.state == from => self.append_locked(&mut active, run, event),
            _ => Ok(()),
        }
    }

    fn append_locked(&self, active: &mut HashMap<i64, Active>, run: i64, event: RunEvent) -> Result<(), StoreError> {
        let entry = active.get_mut(&run).ok_or(StoreError::NotFound { what: "active run", id: run })?;
        let experiment = entry.experiment;
        let logged = LoggedEvent { run, seq: entry.view.seq + 1, at_ms: now_ms(), event };
        let state = match &logged.event {
            RunEvent::State { state, .. } => Some(*state),
            _ => None,
        };
        if state.is_some_and(RunState::is_over) {
            let mut ended = entry.view.clone();
            ended.apply(&logged);
            self.store.append(&logged, Some(&ended))?;
            active.remove(&run);
        } else {
            self.store.append(&logged, None)?;
            entry.view.apply(&logged);
        }
        // Without a listener there is nobody to tell.
        let _ = self.notices.send(Notice::Event(Arc::new(logged)));
        if state.is_some() {
            self.changed(experiment);
        }
        Ok(())
    }

    pub fn view(&self, run: i64) -> Option<RunView> {
        self.active().get(&run).map(|entry| entry.view.clone())
    }

    pub fn changed(&self, experiment: i64) {
        let _ = self.notices.send(Notice::Changed { experiment });
    }

    pub fn subscribe(&self) -> broadcast::Receiver<Notice> {
        self.notices.subscribe()
    }

    /// Lets go of a run whose end could not be stored; the next start of the server marks it as interrupted.
    pub fn abandon(&self, run: i64) {
        self.active().remove(&run);
    }

    fn active(&self) -> MutexGuard<'_, HashMap<i64, Active>> {
        self.active.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
