//! A run as a viewer holds it: the fold of its log. Server (first render, snapshots) and page (live) share it,
//! so both show the same.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{
    AppError, CellConfig, CellOutput, GeneratedPair, LoggedEvent, RunEvent, RunState, StepCurve, StepPoint,
    TargetIntegrity,
};

/// Finished pairs kept in a view; the table's own pages hold all.
const MOST_PAIRS: usize = 50;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunView {
    pub run: i64,
    pub cell: i64,
    /// The configuration that this run was started with.
    pub config: CellConfig,
    /// Number of the last event that is folded in; 0 before the first.
    pub seq: u64,
    pub state: RunState,
    pub error: Option<AppError>,
    pub created_ms: i64,
    /// When the newest session began: a run has one, and one more for each time it was resumed.
    pub started_ms: Option<i64>,
    /// When the newest session ended. One that was cut off ended with its last event.
    pub ended_ms: Option<i64>,
    /// How long the sessions before the newest one took together.
    #[serde(default)]
    pub earlier_ms: i64,
    /// When the newest event was logged.
    #[serde(default)]
    pub last_ms: i64,
    pub phase: String,
    pub progress: Option<(u64, u64)>,
    pub integrity: Option<TargetIntegrity>,
    /// All steps, in buckets. Empty in stored views whose steps were thinned (named `steps`).
    #[serde(default, alias = "steps")]
    pub curve: StepCurve,
    pub last_step: Option<StepPoint>,
    pub evaluations: Vec<EvaluationPoint>,
    pub checkpoints: Vec<CheckpointMark>,
    pub samples: Vec<SampleText>,
    /// Text so far of pairs in the making, by row of the corpus.
    pub writing: BTreeMap<u32, String>,
    pub tokens_per_s: f64,
    /// The newest finished pairs.
    pub pairs: Vec<GeneratedPair>,
    pub output: Option<CellOutput>,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct EvaluationPoint {
    pub step: u32,
    /// Nats per supervised token of the validation pairs.
    pub loss: f64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckpointMark {
    pub step: u32,
    pub name: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SampleText {
    pub step: u32,
    pub index: u32,
    pub response: String,
    pub reference: String,
    pub generated: String,
}

impl RunView {
    pub fn new(run: i64, cell: i64, config: CellConfig, created_ms: i64) -> Self {
        Self {
            run,
            cell,
            config,
            seq: 0,
            state: RunState::Queued,
            error: None,
            created_ms,
            started_ms: None,
            ended_ms: None,
            earlier_ms: 0,
            last_ms: created_ms,
            phase: String::new(),
            progress: None,
            integrity: None,
            curve: StepCurve::default(),
            last_step: None,
            evaluations: Vec::new(),
            checkpoints: Vec::new(),
            samples: Vec::new(),
            writing: BTreeMap::new(),
            tokens_per_s: 0.0,
            pairs: Vec::new(),
            output: None,
        }
    }

    /// Folds one event in. An event that was folded in already is ignored, so replays do no harm.
    /// Returns false where an event is missing before this one: the caller must ask again after `seq`.
    pub fn apply(&mut self, logged: &LoggedEvent) -> bool {
        if logged.seq <= self.seq {
            return true;
        }
        if logged.seq != self.seq + 1 {
            return false;
        }
        self.seq = logged.seq;
        match &logged.event {
            RunEvent::State { state, error } => self.enter(*state, error.as_ref(), logged.at_ms),
            RunEvent::Phase { text } | RunEvent::Warning { text } => {
                self.phase.clone_from(text);
                self.progress = None;
            }
            RunEvent::Progress { done, total } => self.progress = Some((*done, *total)),
            RunEvent::Integrity { integrity } => self.integrity = Some(integrity.clone()),
            RunEvent::Step { step } => {
                self.curve.push(step);
                self.last_step = Some(*step);
            }
            RunEvent::Evaluation { step, loss, .. } => {
                self.evaluations.retain(|point| point.step < *step);
                self.evaluations.push(EvaluationPoint { step: *step, loss: *loss });
            }
            RunEvent::Checkpoint { step, name } => {
                self.checkpoints.retain(|mark| mark.step < *step);
                self.checkpoints.push(CheckpointMark { step: *step, name: name.clone() });
                self.curve.mark(*step);
            }
            RunEvent::Sample { step, index, response, reference, generated } => {
                self.samples.retain(|sample| (sample.step, sample.index) != (*step, *index) && sample.step <= *step);
                self.samples.push(SampleText {
                    step: *step,
                    index: *index,
                    response: response.clone(),
                    reference: reference.clone(),
                    generated: generated.clone(),
                });
            }
            RunEvent::Tokens { deltas, tokens_per_s } => {
                self.tokens_per_s = *tokens_per_s;
                for delta in deltas {
                    self.writing.entry(delta.index).or_default().push_str(&delta.text);
                }
            }
            RunEvent::Pair { pair } => {
                self.writing.remove(&pair.index);
                self.pairs.retain(|known| known.index != pair.index);
                self.pairs.push(pair.clone());
                if self.pairs.len() > MOST_PAIRS {
                    self.pairs.remove(0);
                }
            }
            RunEvent::Output { output } => self.output = Some(output.clone()),
        }
        self.last_ms = logged.at_ms;
        true
    }

    /// How long the run has been computed, in all its sessions. `now_ms` counts while it is active.
    pub fn active_ms(&self, now_ms: i64) -> i64 {
        let newest = self.started_ms.map_or(0, |started| self.ended_ms.unwrap_or(now_ms) - started);
        self.earlier_ms + newest.max(0)
    }

    fn enter(&mut self, state: RunState, error: Option<&AppError>, at_ms: i64) {
        self.state = state;
        self.error = error.cloned();
        match state {
            RunState::Queued => {
                self.earlier_ms = self.active_ms(self.last_ms);
                self.started_ms = None;
                self.ended_ms = None;
            }
            RunState::Running => {
                self.started_ms = Some(at_ms);
                self.ended_ms = None;
                // After a resume the pairs in the making are written anew.
                self.writing.clear();
            }
            _ if state.is_over() => {
                // The next start of the server logs that a run was cut off, however much later that is.
                self.ended_ms = Some(if state == RunState::Interrupted { self.last_ms } else { at_ms });
                self.progress = None;
                self.phase.clear();
                self.writing.clear();
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod time_tests {
    use super::*;

    #[test]
    fn the_time_of_a_resumed_run_is_that_of_its_sessions_without_the_pauses() {
        let mut view = RunView::new(1, 1, CellConfig::default_of(crate::CellKind::Train), 0);
        let state = |state| RunEvent::State { state, error: None };
        let events = [
            (0, state(RunState::Queued)),
            (1_000, state(RunState::Running)),
            (6_000, RunEvent::Progress { done: 1, total: 2 }),
            // The process was killed here; the next start is much later.
            (900_000, state(RunState::Interrupted)),
            (910_000, state(RunState::Queued)),
            (920_000, state(RunState::Running)),
        ];
        for ((at_ms, event), seq) in events.into_iter().zip(1..) {
            assert!(view.apply(&LoggedEvent { run: 1, seq, at_ms, event }));
        }
        assert_eq!((view.earlier_ms, view.active_ms(921_000)), (5_000, 6_000));
        view.apply(&LoggedEvent { run: 1, seq: 7, at_ms: 922_000, event: state(RunState::Done) });
        assert_eq!(view.active_ms(i64::MAX), 7_000);
    }
}
