//! The thread that computes: takes runs in order, gathers their inputs, calls the executor, writes how they end.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::PoisonError;
use std::time::Duration;

use engine::{Control, Stop};
use spec::{AppError, CellKind, CellOutput, Report, RunEvent, RunState};

use super::{Executor, Jobs, MakeExecutor, Slot, cut_off};
use crate::store::RunRow;
use crate::work::{Ended, Input, RunContext};

/// How long the thread waits for a run before it looks after what is left over.
const IDLE: Duration = Duration::from_secs(5);

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
        engine::memory::release_memory();
    }
}

impl Jobs {
    /// Waits for a run; None once the server shuts down.
    fn take_next(&self) -> Option<(i64, Control)> {
        let mut state = self.state();
        loop {
            if state.closing {
                return None;
            }
            if let Some(run) = state.waiting.pop_front() {
                let control = Control::default();
                state.slot = Slot::Running { run, control: control.clone() };
                return Some((run, control));
            }
            let (guard, waited) = self.changed.wait_timeout(state, IDLE).unwrap_or_else(PoisonError::into_inner);
            state = guard;
            if waited.timed_out() {
                drop(state);
                self.store.store_ends();
                engine::memory::release_memory();
                state = self.state();
            }
        }
    }

    fn perform(&self, run: i64, control: &Control, executor: &mut Executor) -> Result<Ending, Ending> {
        let context = self.context(run, control)?;
        let begun = RunEvent::State { state: RunState::Running, error: None };
        self.append(&mut self.state(), run, begun).map_err(AppError::from)?;
        let (kind, in_pool) = (context.config.kind().as_str(), engine::threads::in_rayon_pool());
        tracing::info!(run, kind, in_pool, "run begins");

        let mut unlogged = None;
        let ended = executor(&context, &mut |event| {
            if matches!(event, RunEvent::State { .. } | RunEvent::Output { .. }) || unlogged.is_some() {
                return;
            }
            if let Err(error) = self.append(&mut self.state(), run, event) {
                // What cannot be logged must not go on: it would be lost to everyone.
                control.stop(Stop::Save);
                unlogged = Some(AppError::from(error));
            }
        });
        match ended {
            // An error of the work itself says more than its effect on the log.
            Err(error) => Err(Ending::Failed(error)),
            Ok(_) if unlogged.is_some() => Err(unlogged.map_or(Ending::Stopped(None), Ending::Failed)),
            Ok(Ended::Done(output)) => {
                match &output {
                    CellOutput::Report(_) => self.keep_report(&context)?,
                    // Pairs may have been decided on since the run was queued.
                    CellOutput::Curate(output) => {
                        self.store.set_identity(run, &output.curation_sha256).map_err(AppError::from)?;
                    }
                    CellOutput::Generate(_) => {
                        // The pairs are there and whole, with or without them.
                        if let Err(error) = self.store.take_over_curation(run) {
                            tracing::warn!(run, %error, "decisions of the cell's earlier run were not taken over");
                        }
                    }
                    _ => {}
                }
                Ok(Ending::Done(Box::new(output)))
            }
            Ok(Ended::Stopped) => Ok(Ending::Stopped(None)),
        }
    }

    /// What a finished run was computed from, to compute parts of it again.
    pub fn context_of(&self, run: i64, control: &Control) -> Result<RunContext, AppError> {
        self.context(run, control).map_err(|ending| match ending {
            Ending::Failed(error) | Ending::Stopped(Some(error)) => error,
            Ending::Stopped(None) | Ending::Done(_) => {
                AppError::needs_run("What this run builds on is not there.", "Run the cells above it again.")
            }
        })
    }

    fn context(&self, run: i64, control: &Control) -> Result<RunContext, Ending> {
        let row = self.store.run(run).map_err(AppError::from)?;
        row.check_readable().map_err(AppError::from)?;
        Ok(RunContext {
            run,
            experiment: self.store.experiment_name(row.experiment).map_err(AppError::from)?,
            inputs: self.gather(&row)?,
            folder: self.folders.prepare(run)?,
            done_pairs: self.store.readable_pairs(run).map_err(AppError::from)?,
            earlier_s: self.view(run).map_or(0.0, |view| view.earlier_ms as f64 / 1e3),
            config: row.config,
            control: control.clone(),
        })
    }

    /// What this run builds on; refused with the reason where an input did not finish.
    fn gather(&self, row: &RunRow) -> Result<Vec<Input>, Ending> {
        let mut inputs = Vec::with_capacity(row.inputs.len());
        for input in &row.inputs {
            let kind = input.kind.as_str();
            let source = self.store.run(input.run).map_err(AppError::from)?;
            source.check_readable().map_err(AppError::from)?;
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
                RunState::Interrupted => return Err(Ending::Stopped(Some(reason("was interrupted")))),
                RunState::Failed => return Err(Ending::Failed(reason("failed"))),
                RunState::Queued | RunState::Running | RunState::Stopping => {
                    return Err(Ending::Failed(reason("has not finished yet")));
                }
            }
            let Some(output) = view.output.clone() else {
                return Err(Ending::Failed(reason("left no output")));
            };
            let (pairs, ratings) = match input.kind {
                CellKind::Generate => (
                    self.store.all_pairs(input.run).map_err(AppError::from)?,
                    self.store.ratings(input.run).map_err(AppError::from)?,
                ),
                _ => (Vec::new(), Vec::new()),
            };
            inputs.push(Input {
                kind: input.kind,
                config: source.config,
                output,
                folder: self.folders.path(input.run),
                view,
                pairs,
                ratings,
            });
        }
        Ok(inputs)
    }

    fn keep_report(&self, context: &RunContext) -> Result<(), AppError> {
        let unreadable = |problem: String| {
            AppError::internal(
                format!("The report that was just written cannot be read: {problem}."),
                "Run the report cell again.",
            )
        };
        let text = std::fs::read(context.folder.join("report.json")).map_err(|error| unreadable(error.to_string()))?;
        let report: Report = serde_json::from_slice(&text).map_err(|error| unreadable(error.to_string()))?;
        Ok(self.store.keep_report(context.run, &report)?)
    }

    fn finish(&self, run: i64, ending: Ending) {
        let mut state = self.state();
        let (end, error) = match ending {
            Ending::Done(output) => match self.append(&mut state, run, RunEvent::Output { output: *output }) {
                Ok(()) => (RunState::Done, None),
                Err(error) => (RunState::Failed, Some(AppError::from(error))),
            },
            Ending::Stopped(None) if state.closing => (RunState::Interrupted, Some(cut_off())),
            Ending::Stopped(reason) => (RunState::Stopped, reason),
            Ending::Failed(error) => (RunState::Failed, Some(error)),
        };
        match &error {
            Some(error) => {
                let (code, message) = (error.code.as_str(), &error.message);
                tracing::warn!(run, state = end.as_str(), code, message, "run ends");
            }
            None => tracing::info!(run, state = end.as_str(), "run ends"),
        }
        if self.append(&mut state, run, RunEvent::State { state: end, error }).is_err() {
            tracing::debug!(run, "it was marked as interrupted before it ended");
        }
        state.slot = Slot::Idle;
        self.changed.notify_all();
    }
}

pub fn panic_text(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("no message")
}
