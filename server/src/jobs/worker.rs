//! The thread that computes: takes runs in order, gathers their inputs, calls the executor, writes how they end.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::PoisonError;

use engine::{Control, Stop};
use spec::{AppError, CellKind, CellOutput, Report, RunEvent, RunState};

use super::{Assignment, Executor, Jobs, MakeExecutor, cut_off};
use crate::store::RunRow;
use crate::work::{Ended, Input};

enum Ending {
    Done(Box<CellOutput>),
    /// With a reason where it was not the person who stopped this very run.
    Stopped(Option<AppError>),
    Failed(AppError),
}

impl From<AppError> for Ending {
    fn from(error: AppError) -> Self {
        Self::Failed(error)
    }
}

pub fn work(jobs: &Jobs, mut make: MakeExecutor) {
    engine::threads::compute_here();
    let mut executor: Option<Executor> = None;
    while let Some((run, control)) = jobs.take_next() {
        let performed = catch_unwind(AssertUnwindSafe(|| {
            jobs.perform(run, &control, executor.get_or_insert_with(&mut make)).unwrap_or_else(|ending| ending)
        }));
        let ending = performed.unwrap_or_else(|panic| {
            executor = None;
            Ending::Failed(AppError::internal(
                format!("The run hit a fault of this program: {}.", panic_text(panic.as_ref())),
                "Other runs are not affected. Please report it with the server's log; resuming may work.",
            ))
        });
        jobs.finish(run, ending);
        engine::memory::give_back();
    }
}

impl Jobs {
    /// Waits for a run; None once the server shuts down.
    fn take_next(&self) -> Option<(i64, Control)> {
        let mut queue = self.queue();
        loop {
            if queue.closing {
                return None;
            }
            if let Some(run) = queue.waiting.pop_front() {
                let control = Control::default();
                queue.running = Some((run, control.clone()));
                return Some((run, control));
            }
            queue = self.changed.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn perform(&self, run: i64, control: &Control, executor: &mut Executor) -> Result<Ending, Ending> {
        let store_trouble = |error| Ending::Failed(AppError::from(error));
        let row = self.store.run(run).map_err(store_trouble)?;
        let inputs = self.gather(&row)?;
        let assignment = Assignment {
            run,
            experiment: self.store.experiment_name(row.experiment).map_err(store_trouble)?,
            config: row.config.clone(),
            folder: self.folders.prepare(run)?,
            inputs,
            done_pairs: self.store.all_pairs(run).map_err(store_trouble)?,
            control: control.clone(),
        };
        self.live.append(run, RunEvent::State { state: RunState::Running, error: None }).map_err(store_trouble)?;
        tracing::info!(run, kind = row.config.kind().as_str(), "run begins");

        let mut unlogged = None;
        let ended = executor(&assignment, &mut |event| {
            if matches!(event, RunEvent::State { .. } | RunEvent::Output { .. }) || unlogged.is_some() {
                return;
            }
            if let Err(error) = self.live.append(run, event) {
                // What cannot be logged must not go on: it would be lost to everyone.
                control.stop(Stop::Save);
                unlogged = Some(AppError::from(error));
            }
        });
        if let Some(error) = unlogged {
            return Ok(Ending::Failed(error));
        }
        match ended {
            Ok(Ended::Done(output)) => {
                if matches!(output, CellOutput::Report(_)) {
                    self.keep_report(&assignment)?;
                }
                Ok(Ending::Done(Box::new(output)))
            }
            Ok(Ended::Stopped) => Ok(Ending::Stopped(None)),
            Err(error) => Ok(Ending::Failed(error)),
        }
    }

    /// What this run builds on; refused with the reason where an input did not finish.
    fn gather(&self, row: &RunRow) -> Result<Vec<Input>, Ending> {
        let mut inputs = Vec::with_capacity(row.inputs.len());
        for input in &row.inputs {
            let kind = input.kind.as_str();
            let source = self.store.run(input.run).map_err(AppError::from)?;
            let view = self.store.view(&source).map_err(AppError::from)?;
            let reason = |what: &str| {
                AppError::needs_run(
                    format!("The {kind} run that this one builds on {what}."),
                    format!("Resume or run the {kind} cell, then run this one again."),
                )
            };
            match source.state {
                RunState::Done => {}
                RunState::Stopped => return Err(Ending::Stopped(Some(reason("was stopped")))),
                RunState::Interrupted => return Err(Ending::Stopped(Some(reason("was cut off")))),
                RunState::Failed => return Err(Ending::Failed(reason("failed"))),
                RunState::Queued | RunState::Running | RunState::Stopping => {
                    return Err(Ending::Failed(reason("has not finished yet")));
                }
            }
            let Some(output) = view.output.clone() else {
                return Err(Ending::Failed(reason("left no output")));
            };
            let pairs = match input.kind {
                CellKind::Generate => self.store.all_pairs(input.run).map_err(AppError::from)?,
                _ => Vec::new(),
            };
            inputs.push(Input {
                kind: input.kind,
                config: source.config,
                output,
                folder: self.folders.path(input.run),
                view,
                pairs,
            });
        }
        Ok(inputs)
    }

    fn keep_report(&self, assignment: &Assignment) -> Result<(), AppError> {
        let unreadable = |problem: String| {
            AppError::internal(
                format!("The report that was just written cannot be read: {problem}."),
                "Run the report cell again.",
            )
        };
        let text =
            std::fs::read(assignment.folder.join("report.json")).map_err(|error| unreadable(error.to_string()))?;
        let report: Report = serde_json::from_slice(&text).map_err(|error| unreadable(error.to_string()))?;
        Ok(self.store.keep_report(assignment.run, &report)?)
    }

    fn finish(&self, run: i64, ending: Ending) {
        let ended = match ending {
            Ending::Done(output) => {
                self.live.append(run, RunEvent::Output { output: *output }).map(|()| (RunState::Done, None))
            }
            Ending::Stopped(None) if self.queue().closing => Ok((RunState::Interrupted, Some(cut_off()))),
            Ending::Stopped(reason) => Ok((RunState::Stopped, reason)),
            Ending::Failed(error) => Ok((RunState::Failed, Some(error))),
        };
        let (state, error) = ended.unwrap_or_else(|error| (RunState::Failed, Some(AppError::from(error))));
        match &error {
            Some(error) => {
                tracing::warn!(
                    run,
                    state = state.as_str(),
                    code = error.code.as_str(),
                    message = error.message,
                    "run ends"
                )
            }
            None => tracing::info!(run, state = state.as_str(), "run ends"),
        }
        if let Err(error) = self.live.append(run, RunEvent::State { state, error }) {
            tracing::error!(run, %error, "the end of a run could not be stored; the next start marks it as interrupted");
            self.live.abandon(run);
        }
        self.queue().running = None;
        self.changed.notify_all();
    }
}

fn panic_text(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("no message")
}
