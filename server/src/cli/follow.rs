//! Follows an experiment's runs until none is under way, as a viewer would; a signal asks them to save and stop.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use spec::{AppError, CellKind, GetNotebook, Notebook, RunState, StopMode, StopRun};
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;

use super::progress::Progress;
use super::{Result, interrupt};
use crate::service::{Notice, Service};

/// The notebook once nothing of it is queued or running. `notices` must be older than the command that queued.
pub async fn follow(service: &Arc<Service>, experiment: i64, notices: &mut Receiver<Notice>) -> Result<Notebook> {
    let mut progress = Progress::new();
    let mut notebook = service.ask(GetNotebook { experiment }).await?;
    let mut kinds = kinds(&notebook);
    let mut stop = std::pin::pin!(interrupt::requested());
    let mut stopping = false;
    // A slow reader may miss notices, so the notebook is read again from time to time.
    let mut look_again = tokio::time::interval(Duration::from_secs(2));
    look_again.tick().await;
    loop {
        if !notebook.cells.iter().any(|cell| cell.run.as_ref().is_some_and(|run| !run.state.is_over())) {
            return Ok(notebook);
        }
        let look = tokio::select! {
            notice = notices.recv() => match notice {
                Ok(Notice::Event(event)) => match kinds.get(&event.run) {
                    Some(kind) => {
                        progress.label(kind.as_str());
                        progress.event(&event.event);
                        matches!(&event.event, spec::RunEvent::State { state, .. } if {
                            progress.line(state.as_str());
                            state.is_over()
                        })
                    }
                    None => false,
                },
                Ok(Notice::Changed { experiment: changed }) => changed == experiment,
                Err(RecvError::Lagged(_)) => true,
                Err(RecvError::Closed) => return Err(AppError::internal("the run log ended", "")),
            },
            () = &mut stop, if !stopping => {
                stopping = true;
                progress.line(interrupt::STOPPING);
                tokio::spawn(interrupt::exit_when_requested());
                stop_all(service, &notebook).await;
                true
            }
            _ = look_again.tick() => true,
        };
        if look {
            notebook = service.ask(GetNotebook { experiment }).await?;
            kinds.extend(self::kinds(&notebook));
        }
    }
}

fn kinds(notebook: &Notebook) -> HashMap<i64, CellKind> {
    notebook.cells.iter().filter_map(|cell| Some((cell.run.as_ref()?.run, cell.config.kind()))).collect()
}

/// Those that wait first, so that none of them starts when the running one ends.
async fn stop_all(service: &Arc<Service>, notebook: &Notebook) {
    let mut active: Vec<_> =
        notebook.cells.iter().filter_map(|cell| cell.run.as_ref()).filter(|run| !run.state.is_over()).collect();
    active.sort_by_key(|run| (run.state != RunState::Queued, run.run));
    for run in active {
        if let Err(error) = service.ask(StopRun { run: run.run, mode: StopMode::Save }).await {
            // It may have ended by itself in this moment.
            tracing::debug!(run = run.run, %error, "not stopped");
        }
    }
}
